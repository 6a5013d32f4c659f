/** Whether the members of each parameter in a template's file agree with each other; what the parameters are then: pure. */
import { shortened } from "./words.ts";
import type { DeclaredParameter, Problem, TemplateFile } from "./template-file.ts";
import { type TypedValue, typeValue, type Typing, type ValueSchema } from "./typed-values.ts";
import type { TemplateParameter } from "./variables.ts";

const MAX_SHOWN_DEFAULT = 60;

/** With problems, what else is given back means nothing. */
export interface CheckedParameters {
  parameters: TemplateParameter[];
  problems: Problem[];
}

export function checkParameters(declared: TemplateFile["parameters"]): CheckedParameters {
  const entries = Object.entries(declared);
  const checked = entries.map(([variable, parameter]) => new ParameterCheck(variable, parameter));
  const keys = entries.map(([, { key }]) => key);
  const twice = entries.filter(([, { key }], index) => keys.indexOf(key) !== index);
  const problems = twice.map(([variable, { key }]): Problem => {
    return { place: ["parameters", variable, "key"], message: `'${key}' has another variable already` };
  });
  return {
    parameters: checked.map((one) => one.parameter),
    problems: [...problems, ...checked.flatMap((one) => one.problems)],
  };
}

class ParameterCheck {
  readonly problems: Problem[] = [];
  readonly parameter: TemplateParameter;
  readonly #variable: string;
  readonly #declared: DeclaredParameter;

  constructor(variable: string, declared: DeclaredParameter) {
    this.#variable = variable;
    this.#declared = declared;
    const schema = this.#schema();
    const fallback = this.#default(schema);
    const { key, aliases, description, required, secret, keep } = declared;
    if (keep && !secret) this.#refuse("keep", "is for secrets: all other values are kept anyway");
    this.parameter = {
      variable,
      schema,
      parameter: {
        key,
        aliases,
        description,
        // With a default, no run is without it.
        required: required && fallback === undefined,
        hidden: false,
        password: secret,
        keep,
        ...(fallback !== undefined && { default: fallback }),
      },
    };
  }

  #refuse(member: keyof DeclaredParameter, message: string): void {
    this.problems.push({ place: ["parameters", this.#variable, member], message });
  }

  #schema(): ValueSchema {
    const { type, minimum, maximum } = this.#declared;
    const isNumber = type === "integer" || type === "number";
    if (minimum !== undefined && !isNumber) this.#refuse("minimum", "is for the types integer and number");
    if (maximum !== undefined && !isNumber) this.#refuse("maximum", "is for the types integer and number");
    if (minimum !== undefined && maximum !== undefined && minimum > maximum) {
      this.#refuse("minimum", "is more than the maximum");
    }
    return { type, minimum, maximum, pattern: this.#pattern(), enum: this.#enum() };
  }

  #pattern(): RegExp | undefined {
    const { type, pattern } = this.#declared;
    if (pattern === undefined) return undefined;
    if (type !== "string") this.#refuse("pattern", "is for the type string");
    try {
      // First by itself: what closes a group of ours is no pattern.
      new RegExp(pattern, "u");
      return new RegExp(`^(?:${pattern})$`, "u");
    } catch (error) {
      this.#refuse("pattern", `does not compile: ${(error as Error).message}`);
      return undefined;
    }
  }

  #enum(): TypedValue[] | undefined {
    const { type, enum: choices } = this.#declared;
    if (choices === undefined) return undefined;
    if (type === "boolean" || type === "json") {
      this.#refuse("enum", "is for the types string, integer and number");
      return undefined;
    }
    return choices.flatMap((choice) => {
      const typing = typeWritten(choice, String(choice), { type });
      if ("value" in typing) return [typing.value];
      this.#refuse("enum", `'${String(choice)}' ${typing.problem}`);
      return [];
    });
  }

  /** As a key would have it: text. */
  #default(schema: ValueSchema): string | undefined {
    const { default: fallback, secret } = this.#declared;
    if (fallback === undefined) return undefined;
    const text = textOf(fallback);
    if (text === undefined) {
      this.#refuse("default", "refers to itself");
      return undefined;
    }
    const typing = typeWritten(fallback, text, schema);
    if ("value" in typing) return text;
    this.#refuse("default", `${secret ? "the value" : `'${shortened(text, MAX_SHOWN_DEFAULT)}'`} ${typing.problem}`);
    return undefined;
  }
}

/** A value that YAML has understood already, and its text. */
function typeWritten(value: unknown, text: string, schema: ValueSchema): Typing {
  const isScalar = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  if (schema.type === "string" && typeof value !== "string") return { problem: "is no text; put it in quotes" };
  if (schema.type !== "json" && !isScalar) return { problem: `is no ${schema.type}` };
  return typeValue(text, schema);
}

/** Undefined for a value that holds itself, which an alias in YAML can do. */
function textOf(value: unknown): string | undefined {
  try {
    return typeof value === "string" ? value : JSON.stringify(value);
  } catch {
    return undefined;
  }
}
