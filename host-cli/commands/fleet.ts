import type { FleetRequest, FleetResult, FleetSummary } from "../../shared/api/schemas.ts";
import { CommandError, Interruption } from "../../shared/cli/failure.ts";
import { DEFAULT_TIMEOUT_MS } from "../../shared/client.ts";
import { readEntries } from "../../shared/cli/value-sources.ts";
import { type ErrorCode, unreachable } from "../../shared/protocol/errors.ts";
import { newMessageId } from "../../shared/random.ts";
import { unlessAborted } from "../../shared/abort.ts";
import { holdBackMs, WAIT_TIMEOUT_MS } from "../timing.ts";
import type { FleetCommand, FleetRequestCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { FleetReport } from "../managed/fleet-report.ts";
import { failureOf } from "../managed/fleet-result.ts";
import { ManagerLostError } from "../managed/connect.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { sendingFields } from "../managed/sending.ts";
import { selectVms } from "../managed/select-vms.ts";
import { canBeSentAgain, retryInWords } from "../unconfirmed.ts";

type Request = FleetRequest["request"];
type ChangingCommand = Extract<FleetRequestCommand, { messageId: unknown }>;

/** One request for many VMs, whose results are told as they come. */
export async function fleet(command: FleetCommand, context: Context): Promise<void> {
  const { request, style } = command;
  const vms = await selectVms(command.vms, context);
  const messageId = (isChange(request) ? request.messageId : undefined) ?? newMessageId();
  const body: FleetRequest = { vms, request: await requestOf(request, messageId, context) };
  using manager = await openNeededManager(command, context, { lasts: "wait" });
  using report = new FleetReport(request, style, context);
  const outcome = new Outcome(isChange(request) ? messageId : undefined);
  try {
    await follow(manager, body, outcome, report);
  } catch (error) {
    report.close();
    const unknown = outcome.unknownInWords();
    if (error instanceof Interruption && unknown !== undefined) context.output.note(`interrupted; ${unknown}`);
    throw error instanceof ManagerLostError ? outcome.lost(error) : error;
  }
  report.finish(outcome.summary, outcome.messageId);
  outcome.assertDone();
}

async function follow(manager: Manager, body: FleetRequest, outcome: Outcome, report: FleetReport): Promise<void> {
  for await (const { event, data } of manager.stream("sendFleet", { body })) {
    switch (event) {
      case "begin":
        if (data.vms === 0)
          throw new CommandError("failed", `no VM matches ${selectionInWords(body)}; nothing was sent`);
        outcome.total = data.vms;
        await report.begin(data.vms);
        break;
      case "result":
        outcome.take(data);
        await report.take(data);
        break;
      case "summary":
        outcome.summary = data;
        return;
      default:
        unreachable(event);
    }
  }
  throw new ManagerLostError("the manager's answer ended early", { wasSent: true });
}

/** What became of the whole. */
class Outcome {
  /** Of the change for all of them, from which each VM's own is made; undefined for a question. */
  readonly messageId: string | undefined;
  readonly #codes = new Set<ErrorCode>();
  #results = 0;
  /** Of some VM it is not known whether it was done. */
  #isUnconfirmed = false;
  /** How many VMs there are; undefined till the manager has said so. */
  total: number | undefined;
  summary: FleetSummary = { vms: 0, done: 0, queued: 0, failed: 0 };

  constructor(messageId: string | undefined) {
    this.messageId = messageId;
  }

  take(result: FleetResult): void {
    this.#results += 1;
    const failure = failureOf(result);
    if (failure !== undefined) this.#codes.add(failure.code);
    this.#isUnconfirmed ||= canBeSentAgain(failure);
  }

  /** Throws CommandError: `partial` when some failed, and when all did for the same reason, that one. */
  assertDone(): void {
    const { vms, failed } = this.summary;
    if (failed === 0) return;
    const [code = "failed"] = this.#codes;
    const isSame = failed === vms && this.#codes.size === 1;
    const message = `${failed} of ${vms} VMs failed${this.#isUnconfirmed ? this.#retry : ""}`;
    const details = { ...this.summary, ...(this.#isUnconfirmed && { messageId: this.messageId }) };
    throw new CommandError(isSame ? code : "partial", message, details);
  }

  /** For whom it is not known what happened; undefined before anything was sent. */
  unknownInWords(): string | undefined {
    if (this.total === undefined) return undefined;
    const answered = `${this.#results} of ${this.total} VMs have answered`;
    if (this.messageId === undefined) return answered;
    return `${answered}; for the others it is not known whether the message ${this.messageId} reached them${this.#retry}`;
  }

  lost(error: ManagerLostError): CommandError {
    const { messageId } = this;
    const isUnconfirmed = messageId !== undefined && error.wasSent;
    const unknown = this.unknownInWords();
    const more = unknown !== undefined ? `; ${unknown}` : isUnconfirmed ? this.#retry : "";
    const details = { ...(this.total !== undefined && { vms: this.total }), answered: this.#results };
    const code = isUnconfirmed ? "unconfirmed" : "unreachable";
    const message = `${error.message}${more}`;
    return new CommandError(code, message, { ...details, ...(messageId && { messageId }) }, { cause: error });
  }

  /** What stands behind a sentence that leaves open whether a change was done. */
  get #retry(): string {
    return this.messageId === undefined ? "" : `; ${retryInWords(this.messageId)} at each VM`;
  }
}

function isChange(command: FleetRequestCommand): command is ChangingCommand {
  return command.name === "set" || command.name === "delete" || command.name === "clear";
}

async function requestOf(command: FleetRequestCommand, messageId: string, context: Context): Promise<Request> {
  switch (command.name) {
    case "set": {
      const entries = await unlessAborted(context.interrupt, readEntries(command, context.stdin));
      const params = { messageId, entries, ...command.condition };
      const awaited = command.waitAck
        ? waiting("acknowledged", command.timeoutMs ?? WAIT_TIMEOUT_MS)
        : waiting("delivered", command.timeoutMs);
      return { method: "set", params, ...sendingFields(command.sending), ...awaited };
    }
    case "delete": {
      const params = { messageId, keys: command.keys, ...command.condition };
      return {
        method: "delete",
        params,
        ...sendingFields(command.sending),
        ...waiting("delivered", command.timeoutMs),
      };
    }
    case "clear":
      return {
        method: "clear",
        params: { messageId },
        ...sendingFields(command.sending),
        ...waiting("delivered", command.timeoutMs),
      };
    case "get":
      return { method: "get", params: { key: command.key } };
    case "ping":
      return { method: "ping" };
    default:
      return unreachable(command);
  }
}

/** Each VM is waited for so long; many are, at a time, within the whole's. */
function waiting<W extends "delivered" | "acknowledged">(waitFor: W, timeoutMs = DEFAULT_TIMEOUT_MS) {
  return { waitFor, waitMs: holdBackMs(timeoutMs) };
}

function selectionInWords({ vms }: FleetRequest): string {
  if ("all" in vms) return "(the manager knows none)";
  const [first = "", ...more] = vms.names;
  return more.length === 0 ? `'${first}'` : `'${first}' or the ${more.length} others`;
}
