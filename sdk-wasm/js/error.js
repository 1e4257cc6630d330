/** A call that failed. Made from the JSON text that the WebAssembly core rejects with. */
export class QuotaStackError extends Error {
  constructor({ code, message, status, request_id, retryable, seq, problem }) {
    super(message)
    this.name = "QuotaStackError"
    this.code = code
    this.status = status ?? undefined
    this.requestId = request_id ?? undefined
    this.retryable = retryable ?? false
    this.seq = seq ?? undefined
    this.errors = problem?.errors ?? []
  }

  static from(thrown) {
    if (typeof thrown === "string") return new QuotaStackError(JSON.parse(thrown))
    return thrown
  }

  static invalid(message) {
    return new QuotaStackError({ code: "invalid_request", message })
  }
}
