// workerd, the runtime of Cloudflare Workers. It resolves no packages, so the files of the installed one are given to
// it by name, behind the entry that its `exports` name for this runtime.
import { test } from "node:test"
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createInterface } from "node:readline"

const installed = "node_modules/quotastack"
const entry = JSON.parse(readFileSync(`${installed}/package.json`)).exports["."].workerd
writeFileSync("entry.mjs", `export * from "${installed}/${entry.slice(2)}"\n`)

const kinds = { js: "esModule", mjs: "esModule", wasm: "wasm" }
const files = readdirSync(installed)
  .filter((file) => file.split(".").pop() in kinds && file !== "node.js" && file !== "browser.js")
  .map((file) => [`${installed}/${file}`, `${installed}/${file}`])
const modules = [["worker.mjs", "worker.mjs"], ["scenario.mjs", "scenario.mjs"], ["quotastack", "entry.mjs"], ...files]
  .map(([name, file]) => `(name = "${name}", ${kinds[file.split(".").pop()]} = embed "${file}")`)

writeFileSync(
  "config.capnp",
  `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [${modules.join(", ")}],
      compatibilityDate = "2026-01-01",
      bindings = [
        (name = "QUOTASTACK_URL", text = ${JSON.stringify(process.env.QUOTASTACK_URL)}),
        (name = "QUOTASTACK_KEY", text = ${JSON.stringify(process.env.QUOTASTACK_KEY)}),
      ],
    )),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`,
)

test("the packed package works in workerd", async () => {
  const workerd = spawn(process.env.WORKERD, ["serve", "config.capnp", "--control-fd=3"], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  })
  try {
    const [line] = await once(createInterface({ input: workerd.stdio[3] }), "line", { signal: AbortSignal.timeout(30_000) })
    const response = await fetch(`http://127.0.0.1:${JSON.parse(line).port}/`)
    const body = await response.json()
    assert.equal(response.status, 200, body.error)
    assert.equal(body.after, body.before - 1)
  } finally {
    workerd.kill()
  }
})
