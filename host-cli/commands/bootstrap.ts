import { REPORT_KEY } from "../../shared/bootstrap.ts";
import { CommandError, Interruption } from "../../shared/cli/failure.ts";
import { PasswordReader } from "../../shared/cli/password-reader.ts";
import { newMessageId, randomHex } from "../../shared/random.ts";
import type { BootstrapCommand } from "../bootstrap-command.ts";
import { FollowedRun, isEnd, isSuccess, MAX_SEEN_RUNS, type RunView, type Seen } from "../bootstrap/followed-run.ts";
import { readBootstrapEntries } from "../bootstrap/read-sources.ts";
import { openRunDisplay, type RunDisplay } from "../bootstrap/run-display.ts";
import {
  extentInWords,
  failureInWords,
  lossInWords,
  progressInWords,
  supersededInWords,
} from "../bootstrap/run-words.ts";
import type { Context } from "../context.ts";
import type { Changed, Guest, Sent } from "../guest.ts";
import { openGuest } from "../open-guest.ts";
import { sentFacts } from "../sent.ts";
import { sentences, Transcript } from "../transcript.ts";

/** `bootstrap`: sets all of the keys and their commit in one message, and follows how the guest configures itself by them. */
export async function bootstrap(command: BootstrapCommand, context: Context): Promise<void> {
  const { style, follows } = command;
  const { output } = context;
  const passwords = new PasswordReader(context);
  const commit = command.commit ?? randomHex(8);
  const entries = await readBootstrapEntries(command, commit, { context, passwords });
  const transcript = new Transcript(output, style);
  const lasts = follows ? "bootstrap" : "answer";
  await using guest = await openGuest(command, context, transcript, { lasts, passwords });
  const messageId = newMessageId();
  transcript.say(sentences.sending);
  const sent = await guest.send("set", { messageId, entries }).catch(rethrowRefused(follows));
  transcript.say(sent.state === "delivered" ? sentences.sent : sentences.queued);
  if (!follows) {
    transcript.say(`Commit: ${commit}`);
    if (style === "quiet") output.line(commit);
    if (style === "json") output.json({ ...sentFacts(guest.name, messageId, sent), commit });
    return;
  }
  const facts = { vm: guest.name, messageId };
  const last = await follow({ guest, sent, commit, facts, display: await openRunDisplay(style, context) });
  tellEnd(last, facts, { transcript, command, context });
}

interface Following {
  guest: Guest;
  sent: Sent<"set">;
  commit: string;
  /** What is said of it to programs. */
  facts: { vm: string; messageId: string };
  display: RunDisplay;
}

/** Settles when the run has ended, either way. Throws CommandError: the guest's refusal, or unconfirmed with how far it came. */
async function follow({ guest, sent, commit, facts, display: opened }: Following): Promise<RunView> {
  const run = new FollowedRun(facts.messageId);
  using display = opened;
  const end = Promise.withResolvers<RunView>();
  const see = (seen: readonly Seen[]): void => {
    for (const one of seen) {
      if (one.type === "superseded") end.reject(unconfirmed(supersededInWords(one)));
      else showSeen(one, display, end.resolve);
    }
  };
  const unconfirmed = (why: string): CommandError => {
    const message = `the bootstrap of '${guest.name}' is not confirmed: ${why}`;
    return new CommandError("unconfirmed", message, { ...facts, commit });
  };
  const unfinished = (why: string): CommandError => {
    return unconfirmed(`${why}; ${progressInWords(run.progress(performance.now()))}`);
  };
  const watching = guest
    .watch({
      prefix: REPORT_KEY,
      changed: (changed: Changed) => {
        see(run.take(changed, performance.now()));
      },
      late: unfinished,
      note: (text) => {
        display.note(text);
      },
    })
    .catch(rethrowAs(unfinished));
  const delivered = delivery(sent).then((at) => {
    if (at !== undefined) see(run.delivered(at));
    // Whether a run comes to its end is the watch's to say.
    return watching;
  });
  try {
    return await Promise.race([watching, delivered, end.promise]);
  } catch (error) {
    if (error instanceof Interruption) {
      display.note(`interrupted; '${guest.name}' goes on by itself: see vmmessage -v ${guest.name} -q ${REPORT_KEY}`);
    }
    throw error;
  }
}

/** The keys were sent, whatever cannot be asked for now. */
function rethrowAs(unfinished: (why: string) => CommandError) {
  return (error: unknown): never => {
    throw error instanceof CommandError && error.code === "unreachable" ? unfinished(error.message) : error;
  };
}

/** Who may set the keys and not the report's can do so without following. */
function rethrowRefused(follows: boolean) {
  return (error: unknown): never => {
    if (!follows || !(error instanceof CommandError) || error.code !== "not-permitted") throw error;
    if (error.details["key"] !== REPORT_KEY) throw error;
    const message = `${error.message}; to follow the run takes this key too, with --no-wait it is left alone`;
    throw new CommandError(error.code, message, error.details, { cause: error });
  };
}

/** Where in the guest's history the keys were set. */
function delivery({ result, delivery: awaited }: Sent<"set">) {
  return awaited === undefined ? Promise.resolve(result) : awaited();
}

function showSeen(
  seen: Exclude<Seen, { type: "superseded" }>,
  display: RunDisplay,
  end: (last: RunView) => void,
): void {
  switch (seen.type) {
    case "run":
      display.show(seen.view);
      if (isEnd(seen.view.report)) end(seen.view);
      return;
    case "unreadable":
      display.note(`the key '${REPORT_KEY}' is set to what is no report of a run; it is passed over`);
      return;
    case "too-many-runs":
      display.note(`the guest began more than ${MAX_SEEN_RUNS} runs; of further ones only the end is shown`);
      return;
  }
}

interface Telling {
  transcript: Transcript;
  command: BootstrapCommand;
  context: Context;
}

/** Throws CommandError (failed) when the guest could not configure itself. */
function tellEnd(last: RunView, facts: Following["facts"], { transcript, command, context }: Telling): void {
  const answer: object = { ...facts, ...last.report };
  const subject = `Bootstrap of '${facts.vm}'`;
  if (isSuccess(last)) {
    transcript.say(`${subject} succeeded: ${extentInWords(last)}.`);
    if (command.style === "json") context.output.json(answer);
    return;
  }
  const sentence = `${subject} failed: ${failureInWords(last)}`;
  transcript.say(sentence);
  // The transcript has said why.
  const message = command.style === "transcript" ? lossInWords(last) : sentence;
  throw new CommandError("failed", message, { ...answer });
}
