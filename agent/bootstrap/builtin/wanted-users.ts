/** What the key of users may say. */
import * as z from "zod/mini";
import { describeIssues } from "../../../shared/protocol/message.ts";
import { ModuleError } from "../module.ts";
import { keyLineProblem } from "./key-line.ts";

/** Not measured: who has more of them has a directory of users. */
const MAX_USERS = 64;
const MAX_KEYS = 64;
const MAX_GROUPS = 32;

/** As useradd takes them by default, and no name is taken for an option or a number. */
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;
const GROUP_NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/;

/** A field of passwd(5). */
const FIELD = /^[^:\u0000-\u001f\u007f-\u009f]*$/;

/** Programs that take a user's number for a signed one see a negative one above it (systemd's UIDS-GIDS). */
const MAX_UID = 2 ** 31 - 1;

/** Of root no more is changed than who may log in. */
const ROOT_MEMBERS = ["name", "sshAuthorizedKeys"];

const keyLine = z.string().check(
  z.check<string>((context) => {
    const problem = keyLineProblem(context.value);
    if (problem !== undefined) context.issues.push({ code: "custom", message: problem, input: context.value });
  }),
);

const field = z.string().check(z.maxLength(256), z.regex(FIELD, "colons and control characters cannot stand in it"));

const wantedUser = z
  .strictObject({
    name: z.string().check(z.regex(USER_NAME, "a user's name is 1 to 32 of a-z 0-9 _ - and begins with a letter or _")),
    /** All that may log in as the user, from now on. Left out: whoever may now. */
    sshAuthorizedKeys: z.optional(z.array(keyLine).check(z.maxLength(MAX_KEYS))),
    /** Beside the user's own. Nobody leaves a group. */
    groups: z.optional(
      z.array(z.string().check(z.regex(GROUP_NAME, "it is no name of a group"))).check(z.maxLength(MAX_GROUPS)),
    ),
    shell: z.optional(field.check(z.startsWith("/", "must be an absolute path"))),
    comment: z.optional(field),
    /** Of a new user. */
    uid: z.optional(z.int().check(z.minimum(1), z.maximum(MAX_UID))),
  })
  .check(
    z.refine(
      (user) => user.name !== "root" || Object.keys(user).every((member) => ROOT_MEMBERS.includes(member)),
      "root can be given sshAuthorizedKeys, and nothing else",
    ),
  );

const wantedUsers = z.array(wantedUser).check(
  z.maxLength(MAX_USERS),
  z.refine((users) => new Set(users.map(({ name }) => name)).size === users.length, "a user stands in it twice"),
);

export type WantedUser = z.infer<typeof wantedUser>;

/** Throws ModuleError, which names every problem and repeats nothing but the names of members. */
export function parseWantedUsers(text: string): WantedUser[] {
  const parsed = wantedUsers.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new ModuleError(`the list of users: ${describeIssues(parsed.error)}`);
}

/** What JSON.parse says would repeat a piece of the text. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const [at = ""] = /at position \d+/.exec(String(error)) ?? [];
    throw new ModuleError(`the list of users is not JSON${at === "" ? "" : ` ${at}`}`);
  }
}
