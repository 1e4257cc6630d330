// Node: what WebAssembly answers from bytes is what the server answers, byte for byte. The cases are core's
// (core/tests/it/parity).
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { QuotaStackError, evaluate } from "quotastack"

const { catalogues, cases } = JSON.parse(readFileSync(process.env.PARITY_CASES, "utf8"))
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"))
const documents = catalogues.map(bytes)

const ask = ({ state, catalogue, feature_key, units, now }) =>
  evaluate({ state: bytes(state), catalogue: documents[catalogue], featureKey: feature_key, units, now })

test("every case is answered as by the server", async () => {
  let whole = 0
  for (const [number, asked] of cases.entries()) {
    const what = () => `case ${number} of PARITY_SEED=${asked.seed}: ${JSON.stringify({ ...asked, state: undefined })}`
    if (asked.answer === "") {
      // Too large to be published: only the server answers.
      await assert.rejects(ask(asked), { code: "unreadable_state" }, what())
    } else {
      assert.equal(JSON.stringify(await ask(asked)), asked.answer, what())
      whole += 1
    }
  }
  assert.ok(whole > 4000, `${whole} cases`)
})

test("what cannot be read is said", async () => {
  const good = cases.find(({ answer }) => answer !== "")
  const fails = (changes, code) =>
    assert.rejects(ask({ ...good, ...changes }), (error) => error instanceof QuotaStackError && error.code === code)
  await fails({ state: good.state.slice(0, -2) }, "unreadable_state")
  await fails({ state: "ff" + good.state.slice(2) }, "unreadable_state")
  await fails({ feature_key: "No key" }, "invalid_request")
  await fails({ units: -1 }, "invalid_request")
  await fails({ units: 0.5 }, "invalid_request")
  await fails({ now: "yesterday" }, "invalid_request")
})
