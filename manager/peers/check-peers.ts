/**
 * `vmmessaged check`: whether managers can be met at the broker, which of them seal with our key, and whether one seals with
 * another. It is there under ids of its own, beside a manager that runs, and takes nothing that anybody else wants.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { within } from "../../shared/abort.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { configuredBroker } from "../amqp/configured-broker.ts";
import { shownAmqpUrl } from "../amqp/url.ts";
import type { PeersConfig } from "../config.ts";
import { BrokerTransport, type BrokerTransportOptions } from "./broker/broker-transport.ts";
import { type PeerKey, readPeerKey } from "./broker/peer-key.ts";
import type { Addressee, Claim, Passing, TransportListener, Trouble } from "./transport.ts";
import type { Peer, WireMessage } from "./wire.ts";

/** From the look-up of the broker's name until our queues are there. */
const CONNECT_TIMEOUT_MS = 15_000;

/** For a message to ourselves: what has not come by then will not. */
const ROUND_TRIP_TIMEOUT_MS = 5_000;

/** How often we ask who is there: managers with another key show it once a second at most, whoever asked. */
const ASK_EVERY_MS = 1_100;

/** Then others had two seconds; a manager that is not busy answers in milliseconds. Not measured. */
const TIMES_ASKED = 2;

/** Answers that nobody has taken by then are for nobody. */
const EXPIRES_MS = 5_000;

/** A request is executed within seconds after it was asked, by the clock of who executes it. */
const MAX_CLOCK_DIFFERENCE_MS = 3_000;

/** Whoever is at the broker can make fingerprints up. */
const MAX_NAMED = 20;

/** Whoever checks is told what it found, and a log beside it would say the same again. */
const silent: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Does a step and tells what it found; settles with whether it is well. */
export type Step = (name: string, work: () => Promise<string>) => Promise<boolean>;

/** @param host this machine's name */
export async function checkPeers(config: PeersConfig, host: string, step: Step): Promise<void> {
  const check = new PeersCheck(config, host);
  try {
    const isReady =
      (await step("peers key", () => check.readKey())) && (await step("peers broker", () => check.meet()));
    if (isReady) await step("peers", () => check.lookAround());
  } finally {
    await check.close();
  }
}

/** Its steps build on each other. */
class PeersCheck {
  readonly #config: PeersConfig;
  readonly #host: string;
  #key: PeerKey | undefined;
  readonly #ends: CheckingEnd[] = [];

  constructor(config: PeersConfig, host: string) {
    this.#config = config;
    this.#host = host;
  }

  async readKey(): Promise<string> {
    await Promise.resolve();
    const { keyFile } = this.#config;
    this.#key = readPeerKey(keyFile);
    return `${keyFile}, its fingerprint is ${this.#key.fingerprint}`;
  }

  /** Two managers of our own do with each other what managers do. */
  async meet(): Promise<string> {
    const broker = configuredBroker(this.#config);
    const { exchange } = this.#config;
    const options = { broker, exchange, key: this.#keyThatWasRead, host: this.#host };
    const [asking, holding] = [new CheckingEnd(options), new CheckingEnd(options)];
    this.#ends.push(asking, holding);
    await Promise.all([asking.untilConnected(), holding.untilConnected()]);
    const vmId = randomUUID();
    await holding.assertClaims(vmId, "held");
    await asking.assertClaims(vmId, "taken");
    await asking.assertReaches(holding, { type: "vm", id: vmId });
    await asking.assertReaches(holding, { type: "manager", id: holding.self.id });
    return `${shownAmqpUrl({ broker, to: { exchange } })} lets us do what managers do`;
  }

  async lookAround(): Promise<string> {
    const [asking, holding] = this.#ends;
    if (asking === undefined || holding === undefined)
      throw new Error("who is there is asked when the broker lets us in");
    const { managers, otherKeys } = await asking.whoIsThere();
    if (otherKeys.size > 0) throw this.#otherKeyFailure(otherKeys);
    const found = [...managers.values()];
    assertOwnNames(found.map(({ host }) => host));
    for (const { host, aheadMs } of found) assertSameTime(host, aheadMs);
    // One with our name is the manager beside which we check.
    const others = found.map(({ host }) => host).filter((host) => host !== this.#host);
    if (others.length > 0) return `${named(others)} answered, with the same key`;
    return "nobody else is there yet; on other hosts the key has to have the same fingerprint";
  }

  async close(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end.close()));
  }

  get #keyThatWasRead(): PeerKey {
    if (this.#key === undefined) throw new Error("the key is read first");
    return this.#key;
  }

  #otherKeyFailure(fingerprints: Iterable<string>): CommandError {
    const keys = `fingerprint ${named(fingerprints)}, ours is ${this.#keyThatWasRead.fingerprint}`;
    const remedy = `copy ${this.#config.keyFile} of one host to all of them`;
    return new CommandError("failed", `a manager seals with another key (${keys}); ${remedy}`);
  }
}

interface Found {
  /** Those with our key, by the id of their start; a clock is ahead of ours by so many milliseconds. */
  managers: Map<string, { host: string; aheadMs: number }>;
  /** The fingerprints of others. */
  otherKeys: Set<string>;
}

/** A manager at the broker that holds nothing and serves nothing. */
class CheckingEnd implements TransportListener {
  readonly #transport: BrokerTransport;
  /** With the reason where the first attempt has failed. */
  readonly #connected = Promise.withResolvers<{ reason?: string }>();
  readonly #found: Found = { managers: new Map(), otherKeys: new Set() };
  #onAlive: ((from: Peer) => void) | undefined;
  /** Why the broker, or the transport, did not do what it should. */
  readonly #troubles: string[] = [];

  constructor(options: Omit<BrokerTransportOptions, "log">) {
    this.#transport = new BrokerTransport({ ...options, log: silent });
    this.#transport.start(this);
  }

  get self(): Peer {
    return this.#transport.self;
  }

  received(message: WireMessage, from: Peer, sentAt = Date.now()): void {
    if (message.type === "alive") this.#onAlive?.(from);
    const { managers } = this.#found;
    if (message.type === "announce") managers.set(from.id, { host: from.host, aheadMs: sentAt - Date.now() });
    // It is started anew under another id, or it was a check as we are.
    if (message.type === "bye") managers.delete(from.id);
  }

  connected(): void {
    this.#connected.resolve({});
  }

  disconnected(reason: string): void {
    this.#troubles.push(reason);
  }

  lost(): void {
    this.#troubles.push("somebody deleted a queue of ours");
  }

  otherKey(fingerprint: string): void {
    if (this.#found.otherKeys.size <= MAX_NAMED) this.#found.otherKeys.add(fingerprint);
  }

  trouble({ type, reason }: Trouble): void {
    switch (type) {
      case "not-connected":
        this.#connected.resolve({ reason });
        return;
      case "queues-broken":
      case "claim-refused":
        this.#troubles.push(reason);
        return;
      default:
        unreachable(type);
    }
  }

  async untilConnected(): Promise<void> {
    const { reason } = (await within(CONNECT_TIMEOUT_MS, this.#connected.promise)) ?? {
      reason: "the broker does not answer",
    };
    if (reason !== undefined) throw new CommandError("unreachable", reason);
  }

  async assertClaims(vmId: string, expected: Claim): Promise<void> {
    const claim = (await within(ROUND_TRIP_TIMEOUT_MS, this.#transport.claim(vmId))) ?? "away";
    const trouble = this.#troubles.at(-1);
    if (claim === expected && trouble === undefined) return;
    const saw = trouble ?? `a VM's queue is ${claim} where it should be ${expected}`;
    throw new CommandError("failed", `${saw}; which rights the user needs is in docs/peers.md`);
  }

  async assertReaches(other: CheckingEnd, to: Addressee): Promise<void> {
    const arrived = Promise.withResolvers<true>();
    other.#onAlive = ({ id }) => {
      if (id === this.self.id) arrived.resolve(true);
    };
    const passing = await this.#transport.send(to, { type: "alive" }, ROUND_TRIP_TIMEOUT_MS);
    if (passing.type !== "passed") throw new CommandError("failed", whyNotPassed(passing));
    if ((await within(ROUND_TRIP_TIMEOUT_MS, arrived.promise)) === true) return;
    throw new CommandError("failed", `a message to ourselves (${to.type}) did not come back as it was sent`);
  }

  async whoIsThere(): Promise<Found> {
    for (let asked = 0; asked < TIMES_ASKED; asked += 1) {
      // Taken back at once: we are asked for nothing, and what answers the first still comes.
      await this.#toEveryone({ type: "announce", revision: 0, vms: [], wants: true });
      await this.#toEveryone({ type: "bye" });
      await pause(ASK_EVERY_MS);
    }
    return this.#found;
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  async #toEveryone(message: WireMessage): Promise<void> {
    const passing = await this.#transport.send({ type: "everyone" }, message, EXPIRES_MS);
    if (passing.type !== "passed") throw new CommandError("failed", whyNotPassed(passing));
  }
}

function whyNotPassed(passing: Exclude<Passing, { type: "passed" }>): string {
  return passing.type === "nobody" ? "a queue of ours is gone" : passing.reason;
}

/** They are known to people by the names of their hosts alone. */
function assertOwnNames(hosts: readonly string[]): void {
  const shared = new Set(hosts.filter((host, index) => hosts.indexOf(host) !== index));
  if (shared.size === 0) return;
  throw new CommandError("failed", `two managers are on hosts called ${named(shared)}; hosts need names of their own`);
}

function assertSameTime(host: string, aheadMs: number): void {
  if (Math.abs(aheadMs) <= MAX_CLOCK_DIFFERENCE_MS) return;
  const words = `the clock of ${host} is ${Math.round(Math.abs(aheadMs) / 1_000)} s ${aheadMs > 0 ? "ahead of" : "behind"} ours`;
  throw new CommandError("failed", `${words}, and requests expire within seconds; set the clocks of all hosts`);
}

function named(names: Iterable<string>): string {
  const all = [...names].sort();
  return all.length <= MAX_NAMED ? all.join(", ") : `${all.slice(0, MAX_NAMED).join(", ")} and others`;
}
