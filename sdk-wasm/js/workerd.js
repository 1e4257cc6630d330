// Cloudflare Workers and other edge runtimes: importing the file gives a compiled module; they compile no bytes.
import module from "./quotastack_wasm_bg.wasm"
import { initSync } from "./quotastack_wasm.js"
import { loadWith } from "./client.js"

loadWith(() => initSync({ module }))

export { QuotaStack, QuotaStackError, evaluate, verifyProof } from "./client.js"
