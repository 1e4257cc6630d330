// Browsers and bundlers: the module is fetched from beside this file at the first call.
import init from "./quotastack_wasm.js"
import { loadWith } from "./client.js"

loadWith(() => init({ module_or_path: new URL("./quotastack_wasm_bg.wasm", import.meta.url) }))

export { QuotaStack, QuotaStackError, evaluate, verifyProof } from "./client.js"
