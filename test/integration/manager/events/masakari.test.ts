/** Failures of VMs on their way to Masakari: the sink, the feed before it and the store behind both, over a real HTTP peer. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { parseConfig } from "../../../../manager/config.ts";
import { EventLog } from "../../../../manager/events/event-log.ts";
import { type Event, managerEvent, vmEvent } from "../../../../manager/events/event.ts";
import { Dispatcher, type DispatcherOptions } from "../../../../manager/events/outbox/dispatcher.ts";
import type { Feed } from "../../../../manager/events/outbox/feed.ts";
import { checkSink } from "../../../../manager/sinks/check-sink.ts";
import type { MasakariEndpoint } from "../../../../manager/sinks/endpoint.ts";
import { MasakariSink } from "../../../../manager/sinks/masakari/masakari-sink.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";
import { openStore } from "../../../../manager/store/open-store.ts";
import type { JournalEntry, Store, StoredAttempt, StoredDeadLetter } from "../../../../manager/store/store.ts";
import type { EventType } from "../../../../shared/event-types.ts";
import { EventsInMemory } from "../../../unit/manager/events/event-makers.ts";
import { nextEvent, NOON, web1, web2 } from "../../../unit/manager/sinks/events.ts";
import { CREDENTIAL, HOSTNAME, MasakariUnderTest, PROJECT_ID, USER } from "../../support/masakari.ts";
import { freePort } from "../../support/ports.ts";
import { type Certificate, selfSigned } from "../cli/certificates.ts";
import { temporaryDirectory } from "../store/stores.ts";
import { keptLog } from "./fixtures.ts";

const never = new AbortController().signal;
const SECOND_MS = 1_000;

let masakari: MasakariUnderTest;
let directory: string;
let certificate: Certificate;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-masakari-"));
  certificate = await selfSigned(directory, "masakari", "IP:127.0.0.1");
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: NOON });
  masakari = await MasakariUnderTest.listen();
});

afterEach(async () => {
  await masakari[Symbol.asyncDispose]();
  vi.useRealTimers();
});

/** By the password and the catalogue of the peer, unless the test says otherwise. */
function endpointOf(changes: Partial<MasakariEndpoint> = {}): MasakariEndpoint {
  const { name: user, password, project, domain } = USER;
  const { keystoneUrl: url } = masakari;
  return {
    type: "masakari",
    name: "config:ha",
    url: undefined,
    login: { method: "password", url, user, userDomain: domain, password, project, projectDomain: domain },
    region: undefined,
    interface: "public",
    ca: undefined,
    hostname: HOSTNAME,
    events: { "VM.HUNG": "QEMU_GUEST_AGENT_ERROR", "VM.CRASHED": "LIFECYCLE", "VM.IO-ERROR": "IO_ERROR" },
    retryMax: 12,
    retryIntervalMs: 10 * SECOND_MS,
    ...changes,
  };
}

function failure(type: EventType = "VM.HUNG", vm = web1): Event {
  return nextEvent(vmEvent(type, vm, Date.now()));
}

/** A sink with a journal in memory, closed when the test is over. */
function sinkTo(changes: Partial<MasakariEndpoint> = {}, stands: () => boolean = () => true) {
  const journal = new Map<string, JournalEntry>();
  const { log, lines } = keptLog();
  const sink = new MasakariSink({
    endpoint: endpointOf(changes),
    journal: {
      journal: () => Promise.resolve([...journal.values()]),
      saveJournalEntry: (_, entry) => Promise.resolve(void journal.set(entry.eventId, entry)),
      removeJournalEntry: (_, eventId) => Promise.resolve(void journal.delete(eventId)),
    },
    stands,
    log,
  });
  onTestFinished(() => sink.close());
  const outcomes = async (...events: Event[]): Promise<Outcome[]> => {
    return (await sink.deliver(events, never)).map(({ outcome }) => outcome);
  };
  const outcome = async (event = failure()): Promise<Outcome | undefined> => (await outcomes(event))[0];
  return { sink, journal, lines, outcomes, outcome };
}

/** Until it is so, while no time goes by that the manager knows of. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const startedAt = performance.now();
  while (!(await isSo())) {
    if (performance.now() - startedAt > 20_000) throw new Error("it never became so");
    await vi.advanceTimersByTimeAsync(0);
    // Not faked: the store's thread and the peer need the processor too.
    await sleep(5);
  }
}

describe("a notification", () => {
  test.each([
    ["VM.HUNG", "QEMU_GUEST_AGENT_ERROR", "STOPPED_FAILED"],
    ["VM.CRASHED", "LIFECYCLE", "STOPPED_FAILED"],
    ["VM.IO-ERROR", "IO_ERROR", "IO_ERROR_REPORT"],
  ] as const)(
    "of %s has exactly the payload that Masakari acts on, and is journaled with its id",
    async (type, event, how) => {
      const { outcome, journal } = sinkTo();
      const told = failure(type);
      expect(await outcome(told)).toEqual({ type: "delivered", status: 202 });
      const [post] = masakari.posts;
      expect(post?.body).toEqual({
        notification: {
          type: "VM",
          hostname: "compute-1",
          generated_time: "2026-11-20T12:00:00.000Z",
          payload: { event, instance_uuid: web1.id, vir_domain_event: how },
        },
      });
      expect(post?.path).toBe(`/v1/${PROJECT_ID}/notifications`);
      expect([...journal.values()]).toEqual([
        {
          eventId: told.id,
          vmId: web1.id,
          event,
          generatedAt: NOON,
          sentAt: NOON,
          notificationId: masakari.stored[0]?.notification_uuid,
        },
      ]);
    },
  );

  test("goes without a token to a laboratory's Masakari, which may have a slash at its end", async () => {
    masakari.auth = "noauth";
    const { outcome } = sinkTo({ login: { method: "none" }, url: `${masakari.url}/` });
    expect(await outcome()).toMatchObject({ type: "delivered", status: 202 });
    expect(masakari.posts).toMatchObject([{ token: undefined, path: "/v1/notifications" }]);
    expect(masakari.logins).toBe(0);
  });

  test("goes where the configuration says, whatever the catalogue has", async () => {
    masakari.catalogue = [];
    const { outcome } = sinkTo({ url: masakari.url });
    expect(await outcome()).toMatchObject({ type: "delivered" });
    expect(masakari.posts).toMatchObject([{ path: "/v1/notifications" }]);
  });

  test("goes over TLS to who has a certificate of the configured authority, and to nobody else", async () => {
    await using secure = await MasakariUnderTest.listen(certificate);
    const login = { method: "application-credential", url: secure.keystoneUrl, ...CREDENTIAL } as const;
    expect(await sinkTo({ login, ca: certificate.cert }).outcome()).toMatchObject({ type: "delivered", status: 202 });
    expect(await sinkTo({ login }).outcome()).toEqual({
      type: "failed",
      reason: `Keystone at ${secure.keystoneUrl}/auth/tokens: its certificate is of no authority that the manager knows`,
    });
    expect(secure.logins).toBe(1);
  });

  test("is one of many at a time, of VMs that failed together, with one login for all", async () => {
    const { outcomes } = sinkTo();
    const vms = Array.from({ length: 32 }, (_, index) => ({ ...web1, id: web1.id.replace(/..$/, String(10 + index)) }));
    const all = outcomes(...vms.map((vm) => failure("VM.HUNG", vm)));
    expect(await all).toEqual(Array(32).fill({ type: "delivered", status: 202 }));
    expect(masakari.stored).toHaveLength(32);
    expect(masakari.logins).toBe(1);
  });

  test("is made of nothing else: an event that Masakari has no word for here is a dead letter", async () => {
    const { outcome } = sinkTo();
    const stray = { ...failure("VM.PANIC"), type: "constructor" as EventType };
    for (const event of [failure("VM.PANIC"), stray]) expect(await outcome(event)).toMatchObject({ type: "rejected" });
    expect(masakari.requests).toEqual([]);
  });
});

describe("the answer", () => {
  const fault = (code: number, name: string, message: string) => ({
    status: code,
    body: { [name]: { code, message } },
  });

  test("400 for a host that Masakari does not know is a dead letter that names the host", async () => {
    const { outcome, journal } = sinkTo({ hostname: "compute-9" });
    expect(await outcome()).toEqual({
      type: "rejected",
      status: 400,
      reason:
        `Masakari at ${masakari.url}/${PROJECT_ID} answered 400 (Host with name compute-9 could not be found.) of what it ` +
        "was told of the host 'compute-9'; is that what it calls this host?",
    });
    expect([...journal.values()]).toEqual([]);
  });

  test.each([
    fault(400, "badRequest", "Host with name compute-1 could not be found."),
    fault(403, "forbidden", "Policy doesn't allow it"),
    fault(409, "conflictingRequest", "it is ignored as the host is already under maintenance."),
  ])("$status leaves Masakari with nothing: the next failure of the payload waits for no window", async (reply) => {
    const { outcome, journal } = sinkTo();
    masakari.insteadOf.masakari = reply;
    expect(await outcome()).toMatchObject({ status: reply.status });
    expect([...journal.values()]).toEqual([]);
    delete masakari.insteadOf.masakari;
    await vi.advanceTimersByTimeAsync(30 * SECOND_MS);
    expect(await outcome()).toEqual({ type: "delivered", status: 202 });
    expect(storedTimes()).toEqual([30]);
  });

  test("400 for one whose first answer was lost leaves open whether Masakari has it: the next waits for its window", async () => {
    const { outcome, journal } = sinkTo();
    masakari.answersToLose = 1;
    const told = failure();
    expect(await outcome(told)).toMatchObject({ type: "failed" });
    masakari.insteadOf.masakari = fault(400, "badRequest", "no");
    expect(await outcome(told)).toMatchObject({ type: "rejected" });
    expect([...journal.values()]).toMatchObject([{ eventId: told.id, sentAt: undefined }]);
    expect(await outcome()).toMatchObject({ type: "postponed", forMs: 181 * SECOND_MS, holdsOthers: false });
  });

  test("409 is delivered, as known already", async () => {
    const [first, second] = [sinkTo(), sinkTo()];
    expect(await first.outcome()).toMatchObject({ type: "delivered", status: 202 });
    expect(await second.outcome()).toEqual({
      type: "delivered",
      status: 409,
      note: "it was known already: Notification received from host compute-1 of type VM is duplicate.",
    });
    expect([...second.journal.values()]).toMatchObject([{ sentAt: NOON, notificationId: undefined }]);
  });

  test("409 for a host under maintenance is a failure, since Masakari has nothing; it is told when that is over", async () => {
    const { outcome, journal } = sinkTo();
    masakari.hostsUnderMaintenance.add(HOSTNAME);
    const told = failure();
    expect(await outcome(told)).toEqual({
      type: "failed",
      status: 409,
      reason:
        `Masakari at ${masakari.url}/${PROJECT_ID} answered 409 (Notification received from host compute-1 of type 'VM' is ` +
        "ignored as the host is already under maintenance.); it takes nothing of the host 'compute-1' until its maintenance is over",
    });
    expect([...journal.values()]).toEqual([]);
    masakari.hostsUnderMaintenance.clear();
    expect(await outcome(told)).toEqual({ type: "delivered", status: 202 });
  });

  test.each([
    [fault(403, "forbidden", "Policy doesn't allow it"), "policy os_masakari_api:notifications wants another role"],
    [fault(404, "itemNotFound", "no"), "does its url end with the version (/v1)?"],
    [{ status: 302, headers: { location: "http://127.0.0.1:1/" } }, "redirects are not followed"],
    [fault(500, "computeFault", "The server has erred"), "answered 500 (The server has erred)"],
    [
      { status: 503, body: { message: "The server is currently unavailable" } },
      "answered 503 (The server is currently",
    ],
    [{ status: 502, body: "<html>\u001b[2J</html>" }, "answered 502"],
    [{ status: 200, body: { notifications: [] } }, "answered 200"],
    [fault(418, "masakariFault", `\u001b[2J${"x".repeat(10_000)}`), "answered 418 (\\u001b[2Jxxx"],
  ])("that is none of these is a failure that says where to look: %#", async (reply, words) => {
    const { outcome, journal } = sinkTo();
    masakari.insteadOf.masakari = reply;
    const failed = await outcome();
    expect(failed).toMatchObject({ type: "failed", status: reply.status });
    const reason = failed?.type === "failed" ? failed.reason : "";
    expect(reason).toContain(words);
    expect(reason).toContain(`Masakari at ${masakari.url}`);
    expect(reason.length).toBeLessThan(600);
    expect([...journal.values()].filter(({ sentAt }) => sentAt !== undefined)).toEqual([]);
  });

  test("503 while Masakari cannot reach Keystone is a failure", async () => {
    const { outcome } = sinkTo();
    await outcome(failure("VM.HUNG", web2));
    masakari.isKeystoneAway = true;
    expect(await outcome()).toMatchObject({ type: "failed", status: 503 });
  });

  test("that does not come within twenty seconds is a failure, and a slow one of five seconds is none", async () => {
    const { outcome } = sinkTo();
    const slow = Promise.withResolvers<undefined>();
    masakari.beforeAnswer = () => slow.promise.then(() => undefined);
    const answered = outcome();
    await until(() => masakari.posts.length === 1);
    await vi.advanceTimersByTimeAsync(5_000);
    slow.resolve(undefined);
    expect(await answered).toMatchObject({ type: "delivered" });

    masakari.beforeAnswer = () => new Promise(() => undefined);
    const late = outcome(failure("VM.CRASHED"));
    await until(() => masakari.posts.length === 2);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await late).toMatchObject({
      type: "failed",
      reason: expect.stringMatching(/no answer within 20 s$/) as string,
    });
  });

  test("is not waited for when the manager stops", async () => {
    const { sink, outcome } = sinkTo();
    masakari.beforeAnswer = () => new Promise(() => undefined);
    const cut = outcome();
    await until(() => masakari.posts.length === 1);
    await sink.close();
    expect(await cut).toMatchObject({ type: "unavailable" });
    await sink.close();
  });
});

describe("a token", () => {
  test("is used until nine tenths of its life are over", async () => {
    const { outcome } = sinkTo();
    masakari.tokenLifeMs = 100 * SECOND_MS;
    await outcome(failure("VM.HUNG"));
    await vi.advanceTimersByTimeAsync(89 * SECOND_MS);
    await outcome(failure("VM.CRASHED"));
    expect(masakari.logins).toBe(1);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    expect(await outcome(failure("VM.IO-ERROR"))).toMatchObject({ type: "delivered", status: 202 });
    expect(masakari.logins).toBe(2);
    expect(masakari.posts.map(({ status }) => status)).toEqual([202, 202, 202]);
  });

  test("that is taken back is renewed once, for all who had it, and nothing is lost", async () => {
    const { outcomes } = sinkTo();
    await outcomes(failure("VM.HUNG"));
    masakari.revokeTokens();
    expect(await outcomes(failure("VM.CRASHED"), failure("VM.CRASHED", web2))).toEqual([
      { type: "delivered", status: 202 },
      { type: "delivered", status: 202 },
    ]);
    expect(masakari.logins).toBe(2);
    expect(masakari.stored).toHaveLength(3);
  });

  test("that Masakari never takes is a failure after the second", async () => {
    const { outcome } = sinkTo();
    masakari.insteadOf.masakari = { status: 401, body: { error: { code: 401, message: "no" } } };
    expect(await outcome()).toMatchObject({
      type: "failed",
      status: 401,
      reason: expect.stringMatching(/it takes no token of this Keystone; are both of one cloud/) as string,
    });
    expect(masakari.logins).toBe(2);
    expect(masakari.posts).toHaveLength(2);
  });

  test("that Masakari wants where none is configured is said", async () => {
    const { outcome } = sinkTo({ login: { method: "none" }, url: masakari.url });
    expect(await outcome()).toMatchObject({
      type: "failed",
      status: 401,
      reason: expect.stringMatching(/the sink's auth is 'none'$/) as string,
    });
  });

  test("for a wrong password is refused in words without it, and not asked for by each event", async () => {
    const { login } = endpointOf();
    if (login.method !== "password") throw new Error("no password");
    const { outcomes, sink } = sinkTo({ login: { ...login, password: "wr0ng-w0rd" } });
    const reason =
      `Keystone at ${masakari.keystoneUrl} refused the user 'masakari' of the domain 'Default', the password, or the ` +
      "project 'service' of 'Default' (401)";
    const failed = { type: "failed", reason };
    expect(await outcomes(failure("VM.HUNG"), failure("VM.HUNG", web2))).toEqual([failed, failed]);
    expect(await outcomes(failure("VM.HUNG"))).toEqual([failed]);
    expect(masakari.logins).toBe(1);
    await vi.advanceTimersByTimeAsync(10 * SECOND_MS);
    expect(await outcomes(failure("VM.HUNG"))).toEqual([failed]);
    expect(masakari.logins).toBe(2);
    expect(sink.target).not.toMatch(/w0rd/);
  });

  test("for a wrong password is asked for less and less often, every ten minutes at last, until one is given", async () => {
    const { outcome } = sinkTo();
    const refused = { status: 401, body: { error: { code: 401, message: "no" } } };
    const loginsAt: number[] = [];
    const beginning = Date.now();
    /** An attempt every ten seconds, as the schedule has them. */
    const tryFor = async (minutes: number): Promise<void> => {
      for (let attempt = 0; attempt < 6 * minutes; attempt += 1) {
        const before = masakari.logins;
        await outcome();
        if (masakari.logins > before) loginsAt.push((Date.now() - beginning) / SECOND_MS);
        vi.setSystemTime(Date.now() + 10 * SECOND_MS);
      }
    };
    masakari.insteadOf.keystone = refused;
    await tryFor(35);
    expect(loginsAt).toEqual([0, 10, 30, 70, 150, 310, 630, 1_230, 1_830]);

    delete masakari.insteadOf.keystone;
    masakari.tokenLifeMs = 60 * SECOND_MS;
    vi.setSystemTime(Date.now() + 600 * SECOND_MS);
    expect(await outcome()).toMatchObject({ type: "delivered" });
    masakari.insteadOf.keystone = refused;
    vi.setSystemTime(Date.now() + 600 * SECOND_MS);
    const { logins } = masakari;
    await tryFor(1);
    expect(masakari.logins - logins).toBe(3);
  });

  test("for an application credential that is wrong is refused in words without its secret", async () => {
    const login = { method: "application-credential", url: masakari.keystoneUrl, ...CREDENTIAL, secret: "x" } as const;
    expect(await sinkTo({ login }).outcome()).toEqual({
      type: "failed",
      reason: `Keystone at ${masakari.keystoneUrl} refused the application credential '${CREDENTIAL.id}' or its secret (401)`,
    });
  });

  test.each([
    [{ status: 404 }, "does its url end with the version (/v3)?"],
    [{ status: 300, body: {} }, "does its url end with the version (/v3)?"],
    [{ status: 400, body: { error: { code: 400, message: `said ${USER.password}` } } }, "answered 400: said *****"],
    [{ status: 503, body: "<html>" }, "answered 503"],
    [{ status: 201, body: {} }, "gave no token that we understand"],
    [{ status: 201, body: "no JSON", headers: { "x-subject-token": "t" } }, "gave no token that we understand"],
    [
      { status: 201, body: { token: { filler: "x".repeat(300_000) } }, headers: { "x-subject-token": "t" } },
      "with a catalogue of at most 262144 bytes",
    ],
  ])("that Keystone does not give is missed in words that say where to look: %#", async (reply, words) => {
    const { outcome } = sinkTo();
    masakari.insteadOf.keystone = reply;
    const failed = await outcome();
    expect(failed).toMatchObject({ type: "failed", reason: expect.stringContaining(words) as string });
    expect(JSON.stringify(failed)).not.toContain(USER.password);
    expect(masakari.requests).toEqual([]);
  });

  test("cannot be had from a Keystone that is away, nor anything from a catalogue without Masakari", async () => {
    const url = `http://127.0.0.1:${await freePort()}/v3`;
    const login = { method: "application-credential", url, ...CREDENTIAL } as const;
    expect(await sinkTo({ login }).outcome()).toEqual({
      type: "failed",
      reason: `Keystone at ${url}/auth/tokens: nobody listens there`,
    });
    masakari.catalogue = [{ type: "compute", endpoints: [] }];
    expect(await sinkTo().outcome()).toMatchObject({
      reason: expect.stringContaining("has no service 'instance-ha' (it has: compute)") as string,
    });
  });
});

describe("whether Masakari would be told", () => {
  const aTest = (): Event => nextEvent({ ...managerEvent("SINK.TEST", NOON, { only: "config:ha" }) });

  test("is found out by a test that tells it of no failure", async () => {
    const { outcome } = sinkTo();
    expect(await outcome(aTest())).toEqual({ type: "delivered" });
    expect(masakari.requests.map(({ method, status }) => [method, status])).toEqual([["GET", 200]]);
    masakari.insteadOf.masakari = { status: 200, body: "It works!" };
    expect(await outcome(aTest())).toEqual({
      type: "failed",
      reason: `what answers at ${masakari.url}/${PROJECT_ID} is not Masakari`,
    });
  });

  test("is known when the manager has started, which says what is wrong", async () => {
    const bad = sinkTo({ region: "RegionTwo" });
    bad.sink.start();
    await until(() => bad.lines.length > 0);
    expect(bad.lines).toEqual([
      {
        event: "masakari-unusable",
        target: `as ${masakari.keystoneUrl} has it`,
        reason: expect.stringContaining("has instance-ha not as public in RegionTwo") as string,
      },
    ]);
    const good = sinkTo();
    good.sink.start();
    await good.outcome(aTest());
    expect(good.lines).toEqual([]);
  });

  test("is said by `vmmessaged check`, with the URL that it found", async () => {
    const passwordFile = join(directory, "password");
    await writeFile(passwordFile, USER.password);
    const auth = {
      method: "password",
      url: masakari.keystoneUrl,
      user: USER.name,
      passwordFile,
      project: USER.project,
    };
    const sink = { name: "ha", type: "masakari", auth, interface: "internal", hostname: HOSTNAME };
    const { events } = parseConfig({ events: { sinks: [sink] } }, "manager.json");
    const [configured] = events.sinks;
    if (configured === undefined) throw new Error("no sink");
    expect(await checkSink(configured, events)).toBe(
      `${masakari.url} lets us in, and would be told of the host 'compute-1'`,
    );
    await writeFile(passwordFile, "wr0ng-w0rd");
    await expect(checkSink(configured, events)).rejects.toMatchObject({ code: "not-permitted" });
    expect(masakari.posts).toEqual([]);
  });
});

type Disk = DispatcherOptions["store"] & Pick<Store, "journal" | "saveJournalEntry" | "removeJournalEntry">;

/** A manager's feed, with a sink to the peer, over what it keeps. */
class Feeding {
  readonly attempts: StoredAttempt["outcome"][] = [];
  readonly #disk: Disk;
  readonly #dispatcher: Dispatcher;
  readonly #well = new Set<string>();
  #isKilled = false;

  static async start(disk: Disk, log: EventLog, retryMax = 12): Promise<Feeding> {
    const feeding = new Feeding(disk, log);
    await feeding.#start(endpointOf({ retryMax }));
    return feeding;
  }

  private constructor(disk: Disk, log: EventLog) {
    this.#disk = disk;
    this.#dispatcher = new Dispatcher({
      store: {
        loadFeed: disk.loadFeed.bind(disk),
        saveProgress: this.#unlessKilled(disk.saveProgress.bind(disk)),
        eventsAt: disk.eventsAt.bind(disk),
        removeFeed: disk.removeFeed.bind(disk),
        appendEvents: disk.appendEvents.bind(disk),
        redeliver: disk.redeliver.bind(disk),
      },
      log,
      logger: keptLog().log,
      attempted: (_, outcome) => this.attempts.push(outcome),
      failed: (error) => {
        throw error;
      },
      random: () => 0,
    });
  }

  async #start(endpoint: MasakariEndpoint): Promise<void> {
    const disk = this.#disk;
    const sink = new MasakariSink({
      endpoint,
      journal: {
        journal: disk.journal.bind(disk),
        saveJournalEntry: this.#unlessKilled(disk.saveJournalEntry.bind(disk)),
        removeJournalEntry: this.#unlessKilled(disk.removeJournalEntry.bind(disk)),
      },
      stands: ({ id }) => !this.#well.has(id),
      log: keptLog().log,
    });
    const wants = ({ type }: Event): boolean => Object.hasOwn(endpoint.events, type);
    await this.#dispatcher.add({ id: "config:ha", sink, wants, carriesValues: false, tellWhenDisabled: [] });
  }

  get feed(): Feed {
    const feed = this.#dispatcher.feed("config:ha");
    if (feed === undefined) throw new Error("no feed");
    return feed;
  }

  get isIdle(): boolean {
    return this.feed.backlog === 0 && this.feed.retrying === 0;
  }

  /** What the event told is over. */
  recovers({ id }: Event): void {
    this.#well.add(id);
  }

  redeliver(): Promise<number> {
    return this.#dispatcher.redeliver("config:ha", undefined);
  }

  close(): Promise<void> {
    return this.#dispatcher.close();
  }

  /** The configuration names the sink no more. */
  forget(): Promise<void> {
    return this.#dispatcher.forget("config:ha");
  }

  /** Writes nothing more from now on; what was under way is not seen to its end. */
  kill(): void {
    this.#isKilled = true;
    void this.#dispatcher.close();
  }

  isKilledOnceStored(): void {
    masakari.beforeAnswer = ({ method }) => Promise.resolve(void (this.#isKilled ||= method === "POST"));
  }

  #unlessKilled<Args extends unknown[]>(write: (...args: Args) => Promise<void>) {
    return (...args: Args): Promise<void> => (this.#isKilled ? new Promise(() => undefined) : write(...args));
  }
}

/** The same over a store in a directory, where the next one finds what this one left. */
class Host {
  readonly feeding: Feeding;
  readonly #store: Store;

  static async start(path: string): Promise<Host> {
    const appended: { log?: EventLog } = {};
    const store = await openStore({
      directory: path,
      log: keptLog().log,
      onFailure: (error) => {
        throw error;
      },
      onAppended: (events) => appended.log?.appended(events),
    });
    const log = new EventLog(store, await store.eventLog());
    appended.log = log;
    return new Host(store, await Feeding.start(store, log));
  }

  private constructor(store: Store, feeding: Feeding) {
    this.#store = store;
    this.feeding = feeding;
  }

  get attempts(): StoredAttempt["outcome"][] {
    return this.feeding.attempts;
  }

  get feed(): Feed {
    return this.feeding.feed;
  }

  /** Tells of it, now. */
  async fails(type: EventType = "VM.HUNG", vm = web1): Promise<Event> {
    const [event] = await this.#store.appendEvents([vmEvent(type, vm, Date.now())]);
    if (event === undefined) throw new Error("no event");
    return event;
  }

  journal(): Promise<JournalEntry[]> {
    return this.#store.journal("config:ha", 0);
  }

  async types(): Promise<string[]> {
    return (await this.#store.eventsAfter(0, 1_000)).map(({ type }) => type);
  }

  deadLetters(): Promise<StoredDeadLetter[]> {
    return this.#store.deadLetters("config:ha", 10);
  }

  kept(): Promise<StoredAttempt[]> {
    return this.#store.attemptsAt("config:ha", 100);
  }

  async stop(): Promise<void> {
    await this.feeding.close();
    await this.#store.close();
  }

  async kill(): Promise<void> {
    this.feeding.kill();
    await this.#store.close();
  }
}

/** The next attempt of what failed is due; and it ends. */
async function nextAttempt(host: Host): Promise<void> {
  const before = host.attempts.length;
  await vi.advanceTimersByTimeAsync(10 * SECOND_MS);
  await until(() => host.attempts.length > before);
}

async function closedPeer(): Promise<() => Promise<void>> {
  const { port } = masakari;
  await masakari[Symbol.asyncDispose]();
  return async () => {
    masakari = await MasakariUnderTest.listen(undefined, port);
  };
}

function brokenPeer(): Promise<() => Promise<void>> {
  masakari.insteadOf.masakari = { status: 503 };
  return Promise.resolve(() => {
    delete masakari.insteadOf.masakari;
    return Promise.resolve();
  });
}

function storedTimes(): number[] {
  return masakari.stored.map(({ generated_time: time }) => (Date.parse(time) - NOON) / SECOND_MS);
}

describe("a failure", () => {
  test("whose answer was lost is told again with the same time, and stored once", async () => {
    const host = await Host.start(await temporaryDirectory());
    masakari.answersToLose = 1;
    await host.fails();
    await until(() => host.attempts.length === 1);
    await nextAttempt(host);
    expect(host.attempts).toEqual(["failed", "delivered"]);
    expect(masakari.posts.map(({ status }) => status)).toEqual([202, 409]);
    expect(masakari.stored).toHaveLength(1);
    expect(await host.journal()).toMatchObject([{ generatedAt: NOON, sentAt: NOON + 10 * SECOND_MS }]);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(async () => (await host.kept()).length === 2);
    const [last] = await host.kept();
    expect(last).toMatchObject({
      outcome: "delivered",
      status: 409,
      error: expect.stringMatching(/known already/) as string,
    });
    await host.stop();
  });

  test("that was told when the manager was killed is told again after its restart, and stored once", async () => {
    const path = await temporaryDirectory();
    const host = await Host.start(path);
    host.feeding.isKilledOnceStored();
    await host.fails();
    await until(() => masakari.stored.length === 1);
    expect(await host.journal()).toMatchObject([{ generatedAt: NOON, sentAt: undefined }]);
    await host.kill();
    masakari.beforeAnswer = () => Promise.resolve();
    vi.setSystemTime(NOON + 90 * SECOND_MS);

    const again = await Host.start(path);
    await until(() => again.attempts.length === 1);
    expect(again.attempts).toEqual(["delivered"]);
    const times = masakari.posts.map(({ body }) => (body as { notification: object }).notification);
    expect(times).toEqual([times[0], times[0]]);
    expect(masakari.posts.map(({ status }) => status)).toEqual([202, 409]);
    expect(masakari.stored).toHaveLength(1);
    expect(await again.journal()).toMatchObject([{ sentAt: NOON + 90 * SECOND_MS }]);
    await again.stop();
  });

  test("that was journaled when the manager was killed is not told again at all", async () => {
    const path = await temporaryDirectory();
    const host = await Host.start(path);
    await host.fails();
    await until(async () => (await host.journal()).some(({ sentAt }) => sentAt !== undefined));
    // How far the feed was is not saved.
    await host.kill();
    const again = await Host.start(path);
    await until(() => again.attempts.length === 1);
    expect(again.attempts).toEqual(["delivered"]);
    expect(masakari.posts).toHaveLength(1);
    await again.stop();
  });

  test.each([
    ["Masakari and Keystone are away", closedPeer],
    ["Masakari cannot do anything", brokenPeer],
  ])("while %s is tried twelve times more, is then a dead letter, and never counts as sent", async (_, goesAway) => {
    const host = await Host.start(await temporaryDirectory());
    const comesBack = await goesAway();
    await host.fails();
    await until(() => host.attempts.length === 1);
    for (let attempt = 2; attempt <= 13; attempt += 1) await nextAttempt(host);
    expect(host.attempts).toEqual([...Array<string>(12).fill("failed"), "dead"]);
    expect(Date.now() - NOON).toBe(120 * SECOND_MS);
    await until(async () => (await host.types()).includes("SINK.DEAD-LETTER"));
    expect(host.feed).toMatchObject({ deadLetters: 1, retrying: 0 });
    expect(host.feed.state.disabled).toBeUndefined();
    expect((await host.journal()).filter(({ sentAt }) => sentAt !== undefined)).toEqual([]);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(async () => (await host.deadLetters()).length === 1);

    await comesBack();
    expect(await host.feeding.redeliver()).toBe(1);
    await until(() => host.attempts.length === 14);
    expect(host.attempts.at(-1)).toBe("delivered");
    expect(storedTimes()).toEqual([0]);
    await host.stop();
  });

  test("that follows another of its VM within three minutes is held, and stored after them", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    await vi.advanceTimersByTimeAsync(60 * SECOND_MS);
    await host.fails();
    await host.fails("VM.HUNG", web2);
    await until(() => host.attempts.length === 2 && host.feed.retrying === 1);
    await vi.advanceTimersByTimeAsync(120 * SECOND_MS);
    expect(masakari.posts).toHaveLength(2);
    expect(host.attempts).toEqual(["delivered", "delivered"]);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(() => host.attempts.length === 3);
    expect(storedTimes()).toEqual([0, 60, 181]);
    expect(masakari.posts.map(({ status }) => status)).toEqual([202, 202, 202]);
    await host.stop();
  });

  test("that is held is so over a restart of the manager too", async () => {
    const path = await temporaryDirectory();
    const host = await Host.start(path);
    await host.fails();
    await until(() => host.attempts.length === 1);
    await host.stop();
    vi.setSystemTime(NOON + 100 * SECOND_MS);
    const again = await Host.start(path);
    await again.fails();
    await until(() => again.feed.retrying === 1);
    expect(masakari.posts).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(81 * SECOND_MS);
    await until(() => masakari.stored.length === 2);
    expect(storedTimes()).toEqual([0, 181]);
    await again.stop();
  });

  test("of another kind, or later than that, is told at once", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails("VM.HUNG");
    await until(() => host.attempts.length === 1);
    await host.fails("VM.CRASHED");
    await until(() => host.attempts.length === 2);
    await vi.advanceTimersByTimeAsync(200 * SECOND_MS);
    await host.fails("VM.HUNG");
    await until(() => host.attempts.length === 3);
    expect(storedTimes()).toEqual([0, 0, 200]);
    await host.stop();
  });

  test("of another kind does not wait behind one that is held, which is asked again then whether it is over", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    await vi.advanceTimersByTimeAsync(30 * SECOND_MS);
    const held = await host.fails();
    await until(() => host.feed.retrying === 1);
    await vi.advanceTimersByTimeAsync(5 * SECOND_MS);
    host.feeding.recovers(held);
    await host.fails("VM.CRASHED");
    await until(() => host.attempts.length === 3);
    expect(host.attempts).toEqual(["delivered", "delivered", "obsolete"]);
    expect(storedTimes()).toEqual([0, 35]);
    expect(host.feed.retrying).toBe(0);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(async () => (await host.kept()).length === 3);
    expect((await host.kept())[0]).toMatchObject({ outcome: "obsolete", error: "what it tells is over" });
    await host.stop();
  });

  test.each([
    ["", false],
    [", over a restart of the manager too", true],
  ])("and those that follow it in its window are told with one notification%s", async (_, isRestarted) => {
    const path = await temporaryDirectory();
    let host = await Host.start(path);
    await host.fails("VM.IO-ERROR");
    await until(() => host.attempts.length === 1);
    for (let count = 1; count <= 6; count += 1) {
      await vi.advanceTimersByTimeAsync(10 * SECOND_MS);
      await host.fails("VM.IO-ERROR");
      await until(() => host.feed.retrying === count);
    }
    if (isRestarted) {
      await host.stop();
      host = await Host.start(path);
    }
    const before = host.attempts.length;
    await vi.advanceTimersByTimeAsync(121 * SECOND_MS);
    await until(() => host.attempts.length === before + 6);
    expect(host.attempts.slice(before)).toEqual(["delivered", ...Array<string>(5).fill("obsolete")]);
    expect(storedTimes()).toEqual([0, 181]);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(async () => (await host.kept()).length === 7);
    expect((await host.kept())[0]?.error).toBe(
      "a notification of the same payload, sent after it happened, told it too",
    );
    // What happens after that is another one.
    await host.fails("VM.IO-ERROR");
    await until(() => host.feed.retrying === 1);
    await vi.advanceTimersByTimeAsync(181 * SECOND_MS);
    await until(() => masakari.stored.length === 3);
    await host.stop();
  });

  test("that is told when the one before it is over tells of itself", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    const [over] = [await host.fails(), await host.fails()];
    await until(() => host.feed.retrying === 2);
    host.feeding.recovers(over);
    await vi.advanceTimersByTimeAsync(181 * SECOND_MS);
    await until(() => host.attempts.length === 3);
    expect(host.attempts).toEqual(["delivered", "obsolete", "delivered"]);
    expect(storedTimes()).toEqual([0, 181]);
    await host.stop();
  });

  test("on a host under maintenance is told when that is over, and is a dead letter when it is not", async () => {
    const host = await Host.start(await temporaryDirectory());
    masakari.hostsUnderMaintenance.add(HOSTNAME);
    await host.fails();
    await until(() => host.attempts.length === 1);
    await nextAttempt(host);
    masakari.hostsUnderMaintenance.clear();
    await nextAttempt(host);
    expect(host.attempts).toEqual(["failed", "failed", "delivered"]);
    expect(storedTimes()).toEqual([0]);
    expect(await host.journal()).toMatchObject([{ sentAt: NOON + 20 * SECOND_MS }]);

    masakari.hostsUnderMaintenance.add(HOSTNAME);
    await host.fails("VM.CRASHED");
    await until(() => host.attempts.length === 4);
    for (let attempt = 2; attempt <= 13; attempt += 1) await nextAttempt(host);
    expect(host.attempts.at(-1)).toBe("dead");
    expect(await host.journal()).toHaveLength(1);
    await host.stop();
  });

  test("that is over while it is held, or while Masakari is away, is never told", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    const held = await host.fails();
    await until(() => host.feed.retrying === 1);
    masakari.insteadOf.masakari = { status: 503 };
    const failed = await host.fails("VM.CRASHED", web2);
    await until(() => host.attempts.length === 2);
    host.feeding.recovers(held);
    host.feeding.recovers(failed);
    delete masakari.insteadOf.masakari;
    await vi.advanceTimersByTimeAsync(181 * SECOND_MS);
    await until(() => host.attempts.length === 4);
    expect(host.attempts).toEqual(["delivered", "failed", "obsolete", "obsolete"]);
    expect(masakari.stored).toHaveLength(1);
    expect(host.feed).toMatchObject({ retrying: 0, deadLetters: 0 });
    const journal = await host.journal();
    expect(journal.filter(({ sentAt }) => sentAt !== undefined)).toHaveLength(1);
    await host.stop();
  });

  test("that is over, and may be known all the same, keeps the next from its window", async () => {
    const host = await Host.start(await temporaryDirectory());
    masakari.answersToLose = 1;
    const first = await host.fails();
    await until(() => host.attempts.length === 1);
    host.feeding.recovers(first);
    await nextAttempt(host);
    expect(host.attempts).toEqual(["failed", "obsolete"]);
    await host.fails();
    await until(() => host.feed.retrying === 1);
    await vi.advanceTimersByTimeAsync(171 * SECOND_MS);
    await until(() => masakari.stored.length === 2);
    expect(storedTimes()).toEqual([0, 181]);
    await host.stop();
  });

  test("after the clock was set back is told at once, with a time that Masakari takes for a new one", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    vi.setSystemTime(NOON - 3_600 * SECOND_MS);
    await host.fails();
    await until(() => host.attempts.length === 2);
    expect(storedTimes()).toEqual([0, 181]);
    await host.stop();
  });

  test("that waits when the clock is set back is told at the next look, whether it failed or was held", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    await host.fails();
    await until(() => host.feed.retrying === 1);
    masakari.insteadOf.masakari = { status: 503 };
    await host.fails("VM.CRASHED", web2);
    await until(() => host.attempts.length === 2);
    delete masakari.insteadOf.masakari;
    vi.setSystemTime(NOON - 3_600 * SECOND_MS);
    await vi.advanceTimersByTimeAsync(10 * SECOND_MS);
    await until(() => host.attempts.length === 4);
    expect(host.attempts).toEqual(["delivered", "failed", "delivered", "delivered"]);
    expect(storedTimes().sort((one, other) => one - other)).toEqual([0, 0, 181]);
    await host.stop();
  });

  test("is forgotten with the sink that told of it", async () => {
    const host = await Host.start(await temporaryDirectory());
    await host.fails();
    await until(() => host.attempts.length === 1);
    expect(await host.journal()).toHaveLength(1);
    await host.feeding.forget();
    expect(await host.journal()).toEqual([]);
    await host.stop();
  });

  test("that Masakari does not take is a dead letter at once, with what it said", async () => {
    const host = await Host.start(await temporaryDirectory());
    masakari.insteadOf.masakari = {
      status: 400,
      body: { badRequest: { code: 400, message: "Host with name compute-1 could not be found." } },
    };
    await host.fails();
    await until(() => host.attempts.length === 1);
    expect(host.attempts).toEqual(["dead"]);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    await until(async () => (await host.deadLetters()).length === 1);
    expect((await host.deadLetters())[0]?.error).toContain("Host with name compute-1 could not be found.");
    await host.stop();
  });
});

/** What a manager that is killed leaves, without a disk. */
class DiskInMemory extends EventsInMemory {
  readonly #journal = new Map<string, JournalEntry>();

  journal(): Promise<JournalEntry[]> {
    return Promise.resolve([...this.#journal.values()].map((entry) => ({ ...entry })));
  }

  saveJournalEntry(_sink: string, entry: JournalEntry): Promise<void> {
    this.#journal.set(entry.eventId, { ...entry });
    return Promise.resolve();
  }

  removeJournalEntry(_sink: string, eventId: string): Promise<void> {
    this.#journal.delete(eventId);
    return Promise.resolve();
  }
}

/** Whether a notification of it came after it. */
function isTold({ type, resourceUUID, time }: Event): boolean {
  return masakari.stored.some(({ payload, created_at: createdAt }) => {
    const isOfIt = payload.event === endpointOf().events[type as "VM.HUNG"] && payload.instance_uuid === resourceUUID;
    return isOfIt && Date.parse(createdAt) >= time;
  });
}

describe("whatever happens on the way, and however often the manager is killed,", () => {
  test(
    "each failure that stands is told after it happened, with a notification that Masakari stores once",
    { timeout: 300_000 },
    async () => {
      const fails = fc.record({
        type: fc.constant("fails" as const),
        vm: fc.constantFrom(web1, web2),
        what: fc.constantFrom<EventType>("VM.HUNG", "VM.CRASHED"),
      });
      const time = fc.record({ type: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 200_000 }) });
      const trouble = fc.constantFrom("loses", "breaks", "refuses", "mends", "revokes", "restarts", "is killed");
      const steps = fc.array(
        fc.oneof(
          fails,
          time,
          trouble.map((type) => ({ type })),
        ),
        { minLength: 3, maxLength: 25 },
      );
      await fc.assert(
        fc.asyncProperty(steps, async (script) => {
          vi.setSystemTime(NOON);
          await masakari[Symbol.asyncDispose]();
          masakari = await MasakariUnderTest.listen();
          const disk = new DiskInMemory();
          // So often that nothing becomes a dead letter.
          let manager = await Feeding.start(disk, disk.log, 1_000);
          for (const step of script) {
            if (step.type === "time" && "ms" in step) await vi.advanceTimersByTimeAsync(step.ms);
            else if (step.type === "fails" && "vm" in step) disk.append(vmEvent(step.what, step.vm, Date.now()));
            else if (step.type === "loses") masakari.answersToLose += 1;
            else if (step.type === "breaks") masakari.insteadOf.masakari = { status: 503 };
            else if (step.type === "refuses") masakari.insteadOf.masakari = { status: 403 };
            else if (step.type === "mends") delete masakari.insteadOf.masakari;
            else if (step.type === "revokes") masakari.revokeTokens();
            else {
              if (step.type === "is killed") manager.kill();
              else await manager.close();
              manager = await Feeding.start(disk, disk.log, 1_000);
            }
            // What is under way is often over by then.
            await sleep(3);
          }
          delete masakari.insteadOf.masakari;
          const running = manager;
          await until(async () => {
            await vi.advanceTimersByTimeAsync(15 * SECOND_MS);
            return running.isIdle;
          });
          expect(disk.events.filter((failure) => !isTold(failure))).toEqual([]);
          expect(disk.dead).toEqual([]);
          const journal = await disk.journal();
          expect(journal.every(({ sentAt }) => sentAt !== undefined)).toBe(true);
          expect(masakari.stored.map(({ generated_time: at }) => Date.parse(at)).sort()).toEqual(
            journal.map(({ generatedAt }) => generatedAt).sort(),
          );
          void running.close();
        }),
        { numRuns: 30 },
      );
    },
  );
});

describe("the Masakari of these tests", () => {
  const body = (payload: object, generated_time = new Date(NOON).toISOString()) => {
    return JSON.stringify({ notification: { type: "VM", hostname: HOSTNAME, generated_time, payload } });
  };
  const payload = { event: "LIFECYCLE", instance_uuid: web1.id, vir_domain_event: "STOPPED_FAILED" };
  const post = async (text: string): Promise<number> => {
    masakari.auth = "noauth";
    const headers = { "content-type": "application/json" };
    return (await fetch(`${masakari.url}/notifications`, { method: "POST", body: text, headers })).status;
  };

  test.each([
    { ...payload, state: "gone" },
    { event: payload.event, instance_uuid: web1.id },
    { ...payload, vir_domain_event: "IO_ERROR_REPORT" },
    { ...payload, instance_uuid: "web1" },
  ])("refuses the payload %j", async (wrong) => {
    expect(await post(body(wrong))).toBe(400);
    expect(await post(body(payload, "yesterday"))).toBe(400);
    expect(masakari.stored).toEqual([]);
  });

  test("takes 180 s later for the same, and 181 s later for another", async () => {
    const later = (seconds: number): string => new Date(NOON + seconds * SECOND_MS).toISOString();
    expect(await post(body(payload))).toBe(202);
    expect(await post(body(payload))).toBe(409);
    expect(await post(body(payload, later(-3_600)))).toBe(409);
    expect(await post(body(payload, later(180)))).toBe(409);
    expect(await post(body(payload, later(181)))).toBe(202);
  });

  test("knows no token that it did not give", async () => {
    expect((await fetch(`${masakari.url}/notifications`, { headers: { "x-auth-token": "x" } })).status).toBe(401);
  });
});
