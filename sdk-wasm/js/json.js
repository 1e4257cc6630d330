// JSON with numbers that are exact: JavaScript holds integers up to 2^53 - 1, and so does the ledger.
import { QuotaStackError } from "./error.js"

function exact(name, value) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value
  if (Number.isFinite(value) && !Number.isInteger(value)) return value
  throw QuotaStackError.invalid(`\`${name}\`: ${value} is not a number that JavaScript holds exactly`)
}

export function encode(value) {
  return JSON.stringify(value, (name, item) => (typeof item === "bigint" ? exact(name, Number(item)) : exact(name, item)))
}

export function decode(text) {
  return JSON.parse(text, exact)
}
