/**
 * Messages both ways while things go wrong, and their judgement: what each sender was told, against what the guests' own
 * records say.
 */
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "vitest";
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { Random } from "../../fuzz/random.ts";
import { waitFor } from "../harness/wait-for.ts";
import type { Fault } from "./faults.ts";
import type { Host, Lab } from "./lab.ts";
import { Message, type Told } from "./message.ts";

/** What a guest has done is on its serial console a moment later; an emulated guest on a busy machine has time. */
const RECORD_LAG_MS = 5_000;
const QUEUED_TIMEOUT_MS = 30_000;

/** Enough for a median. */
const MEASURED = 5;

interface Sent {
  message: Message;
  told: Told;
}

export class Ordeal {
  readonly #name: string;
  readonly #lab: Lab;
  readonly #random: Random;
  readonly #sent: Sent[] = [];
  readonly #measured: Message[] = [];
  readonly #revisions: Map<Host, number>;
  #count = 0;
  #doneUnheard = 0;

  private constructor(name: string, lab: Lab, random: Random, revisions: Map<Host, number>) {
    this.#name = name;
    this.#lab = lab;
    this.#random = random;
    this.#revisions = revisions;
  }

  /** `name` begins the keys of its messages. */
  static async begin(name: string, lab: Lab, random: Random): Promise<Ordeal> {
    return new Ordeal(name, lab, random, await revisionsOf(lab));
  }

  /** How often senders were told each. */
  get told(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { told } of this.#sent) counts[told.type] = (counts[told.type] ?? 0) + 1;
    return counts;
  }

  /** How many messages were done before they were sent again, because whoever sent them was not told. */
  get doneUnheard(): number {
    return this.#doneUnheard;
  }

  /** How long a message across takes, from its sending to its answer, while nothing goes wrong. */
  async typicalRequestMs(): Promise<number> {
    const { hosta: from, hostb: to } = this.#lab;
    const times: number[] = [];
    while (times.length < MEASURED) {
      const message = this.#newMessage(from, to);
      const startedAt = performance.now();
      expect(await message.send(), message.key).toEqual({ type: "delivered" });
      times.push(performance.now() - startedAt);
      this.#measured.push(message);
    }
    times.sort((a, b) => a - b);
    return Math.ceil(times[Math.floor(MEASURED / 2)] ?? 0);
  }

  /** One message each way is under way when the fault begins, one is sent at that moment, and one while it lasts. */
  async round(fault: Fault, number: number, requestMs: number): Promise<void> {
    const sending = this.#sendBothWays();
    await pause(this.#random.below(requestMs));
    const beginning = fault(this.#lab, number, this.#random);
    sending.push(...this.#sendBothWays());
    const { lastsMs, end } = await beginning;
    sending.push(...this.#sendBothWays());
    await pause(lastsMs);
    await end();
    const sent = await Promise.all(sending);
    this.#sent.push(...sent);
    await this.#lab.untilTogether();
    await Promise.all(sent.map((one) => this.#settle(one)));
  }

  /**
   * Who was told that nothing was done, and was not asked again, finds nothing done. Then all is done, once each.
   * @param ownChanges how often each guest changed something by itself since the beginning
   */
  async judge(ownChanges: ReadonlyMap<Host, number>): Promise<void> {
    const notDone = this.#sent.filter(({ told }) => told.type === "not-done").map(({ message }) => message);
    for (const message of notDone) {
      expect(await message.timesDone(), `${message.key}, of which nothing was to be done`).toBe(0);
    }
    for (const message of notDone) await message.sendUntilDelivered();
    for (const { message, told } of this.#sent) {
      expect(await message.timesDone(), `${message.key}, told ${JSON.stringify(told)}`).toBe(1);
    }
    const before = this.#revisions;
    for (const [host, revision] of await revisionsOf(this.#lab)) {
      const messages = [...this.#measured, ...this.#sent.map(({ message }) => message)];
      const effects = messages.filter(({ to }) => to === host).length;
      const own = ownChanges.get(host) ?? 0;
      expect(revision - (before.get(host) ?? 0), `changes of ${host.vm}`).toBe(effects + own);
    }
  }

  /** What a manager keeps comes to be done by itself; what nobody knows of is asked for again. */
  async #settle({ message, told }: Sent): Promise<void> {
    switch (told.type) {
      case "queued":
        return untilDone(message, QUEUED_TIMEOUT_MS);
      case "unconfirmed":
      case "lost":
        if ((await message.timesDone()) > 0) this.#doneUnheard += 1;
        await message.sendUntilDelivered();
        return untilDone(message, RECORD_LAG_MS);
      case "delivered":
      case "not-done":
        return;
      default:
        unreachable(told);
    }
  }

  #newMessage(from: Host, to: Host): Message {
    this.#count += 1;
    return new Message(`${this.#name}.${this.#count}`, from, to);
  }

  #sendBothWays(): Promise<Sent>[] {
    return this.#lab.hosts.map(async (from) => {
      const message = this.#newMessage(from, this.#lab.otherThan(from));
      const told = await message.send();
      if (told.type === "delivered") await untilDone(message, RECORD_LAG_MS);
      return { message, told };
    });
  }
}

async function untilDone(message: Message, timeoutMs: number): Promise<void> {
  const isDone = async (): Promise<boolean> => (await message.timesDone()) > 0;
  await waitFor(`${message.key} in ${message.to.vm}`, isDone, { timeoutMs });
}

async function revisionsOf({ hosts }: Lab): Promise<Map<Host, number>> {
  return new Map(await Promise.all(hosts.map(async (host) => [host, await host.record.revision()] as const)));
}
