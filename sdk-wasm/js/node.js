// Node, Bun and Deno: the module is read from the package and compiled at once.
import { readFileSync } from "node:fs"
import { initSync } from "./quotastack_wasm.js"
import { loadWith } from "./client.js"

loadWith(() => initSync({ module: readFileSync(new URL("./quotastack_wasm_bg.wasm", import.meta.url)) }))

export { QuotaStack, QuotaStackError, evaluate, verifyProof } from "./client.js"
