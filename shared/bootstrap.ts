/**
 * What host and guest agree on where a guest is configured from its keys: the key that completes a set of them, the targets,
 * and what the guest tells of a run. docs/bootstrap.md says it in words. What a guest sends is checked with these schemas.
 */
import * as z from "zod/mini";
import { targets } from "./config-targets.ts";

export { type Target, targets } from "./config-targets.ts";

/** Marks a set of keys as complete, with any value: sent in the same `set` as they, or last. */
export const COMMIT_KEY = "org.vmmessage.commit";

/** Where the guest shows its last run, as the JSON of a {@link BootstrapReport}. */
export const REPORT_KEY = "org.vmmessage.bootstrap";

/** Modules of a run. Not measured. */
export const MAX_MODULES = 64;

/** What a module said last, as it is reported: lines, and UTF-16 code units of each. */
export const MAX_REPORTED_LINES = 20;
export const MAX_LINE_LENGTH = 200;

/** Of them, those that the report's key shows. */
export const MAX_SHOWN_LINES = 3;

/**
 * What the report takes of a cache at least, in bytes of its value: a host that follows a run sets the key to something of
 * this size together with the others, so that a cache without room for a report refuses the set.
 */
export const REPORT_ROOM = 600;

/** What a module's results take in its report, as JSON, in UTF-16 code units. */
export const MAX_RESULTS_LENGTH = 2048;

const MAX_TEXT = 256;

const target = z.enum(targets);
const text = z.string().check(z.maxLength(MAX_TEXT));
const durationMs = z.int().check(z.nonnegative());
const results = z
  .record(text, z.string())
  .check(
    z.refine(
      (given) => JSON.stringify(given).length <= MAX_RESULTS_LENGTH,
      `results are over the limit of ${MAX_RESULTS_LENGTH} code units of JSON`,
    ),
  );

/** As a module's header or file calls it. */
export const moduleName = z
  .string()
  .check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a module's name is 1 to 64 of A-Z a-z 0-9 . _ -"));

/** `skipped`: it has nothing to do there, such as no value for any of its parameters. */
export const moduleOutcomes = ["ok", "error", "skipped"] as const;
export type ModuleOutcome = (typeof moduleOutcomes)[number];

/** Said of every run: which it is, and of what. */
const run = {
  /** Made up for each run. */
  run: z.string().check(z.regex(/^[0-9a-f]{16}$/)),
  target,
  /** The instance that is configured; null where the machine has nothing that tells it from others. */
  instance: z.nullable(text),
  /** The value of the commit that began it; null for a run that none began, and where the value may be a secret. */
  commit: z.nullable(text),
  /** The messageId of the change that set the commit: whose run it is. */
  messageId: z.nullable(text),
};

const runReport = z.object({
  ...run,
  /** `waiting`: for the commit. `ok`: every module ended well, or had nothing to do. */
  state: z.enum(["waiting", "running", "ok", "error"]),
  startedAt: z.iso.datetime(),
  durationMs: z.optional(durationMs),
  /** In their order. With `shortened`, those that ended well are left out, and perhaps all. */
  modules: z
    .array(
      z.object({
        name: moduleName,
        state: z.enum(["pending", "running", ...moduleOutcomes]),
        durationMs: z.optional(durationMs),
        /** Why it failed, or why it was skipped: one line. */
        reason: z.optional(z.string().check(z.maxLength(MAX_LINE_LENGTH))),
        /** What it printed last, where it failed; more of it is in its `bootstrap.module`. */
        lines: z.optional(z.array(z.string().check(z.maxLength(MAX_LINE_LENGTH))).check(z.maxLength(MAX_SHOWN_LINES))),
      }),
    )
    .check(z.maxLength(MAX_MODULES)),
  /** Why the run failed as a whole. */
  reason: z.optional(text),
  /** The cache had no room for more. */
  shortened: z.optional(z.boolean()),
});

/** A run as its key shows it, replaced at each step. */
export type BootstrapReport = z.infer<typeof runReport>;
export const bootstrapReport = runReport;

/** The requests `report` of a run, by their name. They travel in the guest's durable queue, and become events. */
export const bootstrapMessages = {
  "bootstrap.started": z.object({ ...run, modules: z.array(moduleName).check(z.maxLength(MAX_MODULES)) }),
  "bootstrap.module": z.object({
    ...run,
    module: moduleName,
    outcome: z.enum(moduleOutcomes),
    durationMs,
    reason: z.optional(z.string().check(z.maxLength(MAX_LINE_LENGTH))),
    /** What it printed last, where it failed. */
    lines: z.array(z.string().check(z.maxLength(MAX_LINE_LENGTH))).check(z.maxLength(MAX_REPORTED_LINES)),
    /** What it gave back, secrets left out. */
    results: z.optional(results),
  }),
  "bootstrap.ended": z.object({
    ...run,
    outcome: z.enum(["ok", "error"]),
    durationMs,
    reason: z.optional(text),
    modules: z.array(z.object({ name: moduleName, outcome: z.enum(moduleOutcomes) })).check(z.maxLength(MAX_MODULES)),
  }),
};

export type BootstrapMessageName = keyof typeof bootstrapMessages;
export type BootstrapMessage<N extends BootstrapMessageName> = z.infer<(typeof bootstrapMessages)[N]>;

/** How a module of a run that has ended ended: one that never ran, since the run was cut short, was skipped. */
export function outcomeOf(state: BootstrapReport["modules"][number]["state"]): ModuleOutcome {
  return state === "pending" || state === "running" ? "skipped" : state;
}
