/** What a key's text means to a template: pure. */
import { shortened } from "./words.ts";

export const valueTypes = ["string", "integer", "number", "boolean", "json"] as const;
export type ValueType = (typeof valueTypes)[number];

export type TypedValue = string | number | boolean | null | TypedValue[] | { [member: string]: TypedValue };

export interface ValueSchema {
  type: ValueType;
  /** Those that it may be. */
  enum?: readonly TypedValue[] | undefined;
  /**
   * All of a string has to match. One whose matching takes very long is not found out: a value has an end of 32 KiB, and who
   * may write a template may do anything here.
   */
  pattern?: RegExp | undefined;
  minimum?: number | undefined;
  maximum?: number | undefined;
}

/** `problem` says what the value is, so that it reads behind the value: `is no integer`. */
export type Typing = { value: TypedValue } | { problem: string };

const INTEGER = /^[+-]?\d+$/;
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const TRUE = ["true", "yes", "on", "1"];
const FALSE = ["false", "no", "off", "0"];

const MAX_SHOWN_CHOICES = 100;

export function typeValue(text: string, schema: ValueSchema): Typing {
  const typing = typeText(text, schema.type);
  if ("problem" in typing) return typing;
  const problem = schemaProblem(typing.value, schema);
  return problem === undefined ? typing : { problem };
}

function typeText(text: string, type: ValueType): Typing {
  switch (type) {
    case "string":
      return { value: text };
    case "integer":
      return numberOf(text, INTEGER.test(text) && Number.isSafeInteger(Number(text)), "is no integer");
    case "number":
      return numberOf(text, NUMBER.test(text) && Number.isFinite(Number(text)), "is no number");
    case "boolean":
      if (TRUE.includes(text)) return { value: true };
      return FALSE.includes(text) ? { value: false } : { problem: "is neither true nor false" };
    case "json":
      return jsonOf(text);
  }
}

function numberOf(text: string, isOne: boolean, problem: string): Typing {
  return isOne ? { value: Number(text) } : { problem };
}

function jsonOf(text: string): Typing {
  try {
    return { value: JSON.parse(text) as TypedValue };
  } catch {
    // Why not would quote it, and it may be a secret.
    return { problem: "is no JSON" };
  }
}

function schemaProblem(
  value: TypedValue,
  { enum: choices, pattern, minimum, maximum }: ValueSchema,
): string | undefined {
  if (choices !== undefined && !choices.includes(value)) {
    return `is none of ${shortened(choices.map(String).join(", "), MAX_SHOWN_CHOICES)}`;
  }
  if (typeof value === "string" && pattern !== undefined && !pattern.test(value)) {
    return `does not match ${shortened(pattern.source, MAX_SHOWN_CHOICES)}`;
  }
  if (typeof value !== "number") return undefined;
  if (minimum !== undefined && value < minimum) return `is less than ${minimum}`;
  return maximum !== undefined && value > maximum ? `is more than ${maximum}` : undefined;
}
