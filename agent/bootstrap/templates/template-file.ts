/** A template's file: YAML 1.2, from text to a checked object; every problem is reported at once, with its line. */
import { basename, isAbsolute, normalize } from "node:path";
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { type $ZodIssue, toDotPath } from "zod/v4/core";
import * as z from "zod/mini";
import { moduleName } from "../../../shared/bootstrap.ts";
import { durationMs, mode } from "../../../shared/config-file.ts";
import { checkCommand, key } from "../../../shared/protocol/message.ts";
import { DEFAULT_MODULE_TIMEOUT_MS, DEFAULT_ORDER, MAX_MODULE_TIMEOUT_MS, ModuleError } from "../module.ts";
import { valueTypes } from "./typed-values.ts";
import { shortened, together } from "./words.ts";

/** Not measured: a template of more is several. Each of them holds its directory open while files are replaced. */
const MAX_FILES = 64;
const MAX_PARAMETERS = 256;
const MAX_UNITS = 64;
const MAX_ALIASES = 16;
const MAX_CHOICES = 256;

/** Aliases of anchors, counted by what they expand to: a few lines can otherwise become gigabytes. */
const MAX_YAML_ALIASES = 64;

const MAX_MESSAGE_LENGTH = 200;
const MAX_DESCRIPTION_LENGTH = 1024;

const VARIABLE = /^[a-z_][a-z0-9_]*$/;
const UNIT =
  /^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.(?:service|socket|target|timer|path|mount|automount|swap|slice|scope|device)$/;

/** Words with a meaning of their own in Liquid. */
const RESERVED = "true false nil null empty blank and or not contains forloop tablerowloop".split(" ");

const description = z._default(z.string().check(z.maxLength(MAX_DESCRIPTION_LENGTH)), "");
const order = z.int().check(z.nonnegative());

const variable = z.string().check(
  z.regex(VARIABLE, "a variable's name begins with a letter, and has a-z 0-9 _"),
  z.refine((name) => !RESERVED.includes(name), "means something else in a template; call it differently"),
);

const scalar = z.union([z.string(), z.number(), z.boolean()], "must be text, a number, or true or false");

const parameter = z.strictObject({
  key,
  aliases: z._default(z.array(key).check(z.maxLength(MAX_ALIASES)), []),
  description,
  type: z._default(z.enum(valueTypes), "string"),
  default: z.optional(z.unknown()),
  required: z._default(z.boolean(), false),
  enum: z.optional(z.array(scalar).check(z.minLength(1), z.maxLength(MAX_CHOICES))),
  pattern: z.optional(z.string()),
  minimum: z.optional(z.number()),
  maximum: z.optional(z.number()),
  secret: z._default(z.boolean(), false),
  keep: z._default(z.boolean(), false),
});

const maxParameters = z.refine<object>(
  (declared) => Object.keys(declared).length <= MAX_PARAMETERS,
  `a template has at most ${MAX_PARAMETERS} parameters`,
);

const filePath = z
  .string()
  .check(
    z.refine(
      (path) => isAbsolute(path) && normalize(path) === path && !path.endsWith("/") && !path.includes("\0"),
      "must be an absolute path without '.', '..' and doubled or closing slashes",
    ),
  );

/** A file beside the template, or below it. */
const relativePath = z
  .string()
  .check(
    z.refine(
      (path) =>
        path !== "" &&
        !isAbsolute(path) &&
        normalize(path) === path &&
        !/^\.\.?(?:\/|$)/.test(path) &&
        !path.includes("\0"),
      "must be a path below the template's own directory",
    ),
  );

const ownerOrGroup = z.union([z.string().check(z.minLength(1)), order], "must be a name or a number");

const quotedMode = z.pipe(z.string('must be permission bits in octal, in quotes, as "0640"'), mode);

const file = z.strictObject({
  path: filePath,
  content: z.optional(z.string()),
  template: z.optional(relativePath),
  owner: z._default(ownerOrGroup, "root"),
  group: z._default(ownerOrGroup, "root"),
  mode: z.optional(quotedMode),
});

const unitName = z.string().check(z.regex(UNIT, "must be a unit with its type, as nginx.service"));
const unitNames = z._default(z.array(unitName).check(z.maxLength(MAX_UNITS)), []);
const units = z.strictObject({ reload: unitNames, restart: unitNames });

const templateFile = z.strictObject({
  name: z.optional(moduleName),
  description,
  configure: z._default(order, DEFAULT_ORDER),
  reconfigure: z.optional(order),
  timeout: z.optional(
    z.pipe(
      z.string('must be a duration in quotes or with its unit, as "90", 10m or 2h'),
      durationMs.check(z.maximum(MAX_MODULE_TIMEOUT_MS, "is longer than one day")),
    ),
  ),
  parameters: z._default(z.record(variable, parameter).check(maxParameters), {}),
  files: z._default(z.array(file).check(z.maxLength(MAX_FILES)), []),
  units: z._default(units, { reload: [], restart: [] }),
  check: z.optional(checkCommand),
});

export type DeclaredParameter = z.infer<typeof parameter>;
export type DeclaredFile = z.infer<typeof file>;
type DeclaredTemplate = z.infer<typeof templateFile>;

/** A file as it was written, defaults filled in; whether its members agree with each other is another matter. */
export interface TemplateFile extends Omit<DeclaredTemplate, "name" | "reconfigure" | "timeout"> {
  name: string;
  reconfigure: number;
  timeoutMs: number;
}

/** A place in the file, from its top. */
export type Place = readonly PropertyKey[];

export interface Problem {
  place: Place;
  message: string;
}

export class TemplateText {
  readonly #path: string;
  readonly #lines = new LineCounter();
  readonly #document: Document;

  constructor(path: string, text: string) {
    this.#path = path;
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      strict: true,
      stringKeys: true,
      uniqueKeys: true,
    });
  }

  /** Throws ModuleError that names every problem. */
  parse(): TemplateFile {
    const parsed = templateFile.safeParse(this.#toJs());
    if (!parsed.success) throw this.failure(parsed.error.issues.flatMap(problemsOf));
    const { name = basename(this.#path).replace(/\.ya?ml$/, ""), reconfigure, timeout, ...rest } = parsed.data;
    if (!moduleName.safeParse(name).success) {
      throw this.failure([
        { place: [], message: `'${name}' cannot be a module's name; give it one with the member 'name'` },
      ]);
    }
    const timeoutMs = timeout ?? DEFAULT_MODULE_TIMEOUT_MS;
    return { ...rest, name, reconfigure: reconfigure ?? rest.configure, timeoutMs };
  }

  failure(problems: readonly Problem[]): ModuleError {
    const located = problems.map(({ place, message }) => ({
      line: this.#lineOf(place),
      text: inWords(place, message),
    }));
    const sorted = located.sort((one, other) => one.line - other.line);
    return new ModuleError(`${this.#path}: ${together(sorted.map(({ line, text }) => `line ${line}: ${text}`))}`);
  }

  #toJs(): unknown {
    const { errors, warnings } = this.#document;
    const complaints = [...errors, ...warnings].map(({ message, pos }) => {
      return `line ${this.#lines.linePos(pos[0]).line}: ${shortened(message, MAX_MESSAGE_LENGTH)}`;
    });
    if (complaints.length > 0) throw new ModuleError(`${this.#path}: ${together(complaints)}`);
    try {
      return this.#document.toJS({ maxAliasCount: MAX_YAML_ALIASES });
    } catch (error) {
      throw new ModuleError(`${this.#path}: ${shortened((error as Error).message, MAX_MESSAGE_LENGTH)}`, [], {
        cause: error,
      });
    }
  }

  /** Of the member itself, or where it is missing, of what it is missing in. */
  #lineOf(place: Place): number {
    let offset = 0;
    let node: unknown = this.#document.contents;
    for (const step of place) {
      const pair = isMap(node) ? node.items.find(({ key: name }) => isScalar(name) && name.value === step) : undefined;
      const next = isSeq(node) ? node.items[Number(step)] : pair?.value;
      offset = startOf(pair?.key) ?? startOf(next) ?? offset;
      node = next;
    }
    return this.#lines.linePos(offset).line;
  }
}

function inWords(place: Place, message: string): string {
  const where = place.length === 0 ? "" : `${toDotPath([...place])}: `;
  return shortened(`${where}${message}`, MAX_MESSAGE_LENGTH);
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function problemsOf(issue: $ZodIssue): Problem[] {
  if (issue.code === "unrecognized_keys") {
    const message = `unknown member (known: ${membersAt(issue.path).join(", ")})`;
    return issue.keys.map((name) => ({ place: [...issue.path, name], message }));
  }
  const { message } = issue.code === "invalid_key" ? (issue.issues[0] ?? issue) : issue;
  return [{ place: issue.path, message }];
}

function membersAt([top]: Place): string[] {
  switch (top) {
    case "parameters":
      return Object.keys(parameter.shape);
    case "files":
      return Object.keys(file.shape);
    case "units":
      return Object.keys(units.shape);
    default:
      return Object.keys(templateFile.shape);
  }
}
