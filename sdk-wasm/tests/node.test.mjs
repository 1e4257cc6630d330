// Node: the package as it is installed.
import { test } from "node:test"
import { scenario } from "./scenario.mjs"

test("the packed package works in Node", async () => {
  await scenario({ url: process.env.QUOTASTACK_URL, key: process.env.QUOTASTACK_KEY, name: "node" })
})
