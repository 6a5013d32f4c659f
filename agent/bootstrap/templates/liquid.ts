/** The template language: Liquid (liquidjs), which knows nothing but the variables it is given. */
import { Liquid, type Template } from "liquidjs";
import { ModuleError } from "../module.ts";
import type { TypedValue } from "./typed-values.ts";
import { shortened } from "./words.ts";

/** Characters of a template and of what it renders: configuration files are smaller. Not measured. */
export const MAX_RENDERED_LENGTH = 1024 * 1024;

/** Of one file, before it is given up. Rendering keeps everything else waiting. */
const RENDER_TIMEOUT_MS = 5_000;

/** Objects and characters that filters and loops make, as liquidjs counts them. */
const MAX_MADE = 16 * 1024 * 1024;

/** They would read other files. */
const TAGS_OF_OTHER_FILES = ["include", "render", "layout", "block"];

const MAX_REASON_LENGTH = 160;

const liquid = newEngine();

/** A text with the variables that it uses. */
export interface ParsedTemplate {
  variables: readonly string[];
  /** Throws ModuleError. */
  render(values: Readonly<Record<string, TypedValue>>): string;
}

/** Throws ModuleError, which names line and column. */
export function parseLiquid(text: string): ParsedTemplate {
  const template = inOurWords(() => liquid.parse(text));
  // What the template makes itself is not among the globals.
  const { globals } = inOurWords(() => liquid.analyzeSync(template, { partials: false }));
  return { variables: Object.keys(globals), render: (values) => render(template, values) };
}

function render(template: Template[], values: Readonly<Record<string, TypedValue>>): string {
  const text = inOurWords(() => liquid.renderSync(template, values) as string);
  if (text.length <= MAX_RENDERED_LENGTH) return text;
  throw new ModuleError(`it becomes longer than ${MAX_RENDERED_LENGTH} characters`);
}

function newEngine(): Liquid {
  const engine = new Liquid({
    strictVariables: true,
    strictFilters: true,
    ownPropertyOnly: true,
    // A member that a JSON value lacks is nil where one asks for it, as in `if site.tls` and `site.port | default: 80`.
    lenientIf: true,
    // No file system.
    templates: {},
    parseLimit: MAX_RENDERED_LENGTH,
    renderLimit: RENDER_TIMEOUT_MS,
    memoryLimit: MAX_MADE,
    // The same on every machine.
    timezoneOffset: 0,
    locale: "en",
    outputEscape: refuseObject,
  });
  for (const tag of TAGS_OF_OTHER_FILES) Reflect.deleteProperty(engine.tags, tag);
  return engine;
}

/** Nobody wants `[object Object]` in a file. What is printed is not changed: liquidjs makes text of it. */
function refuseObject(value: unknown): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value as string;
  throw new Error("an object cannot be printed as it is; use '| json'");
}

function inOurWords<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    // Its first line; below it stands the template.
    const [reason = ""] = (error as Error).message.split("\n");
    throw new ModuleError(shortened(reason, MAX_REASON_LENGTH), [], { cause: error });
  }
}
