// The worker that workerd.test.mjs serves: one request runs the scenario.
import { scenario } from "./scenario.mjs"

export default {
  async fetch(_request, { QUOTASTACK_URL: url, QUOTASTACK_KEY: key }) {
    try {
      return Response.json(await scenario({ url, key, name: "workerd" }))
    } catch (error) {
      return Response.json({ error: String(error?.stack ?? error), code: error?.code }, { status: 500 })
    }
  },
}
