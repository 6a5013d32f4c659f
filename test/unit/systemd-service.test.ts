import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Log } from "../../shared/log.ts";
import { type NotifySettings, SystemdService, takeNotifySettings } from "../../shared/systemd-service.ts";

const pid = 4711;

describe("what systemd asks for", () => {
  const cases: [string, Record<string, string>, NotifySettings | undefined][] = [
    ["nothing, outside a service that notifies", { WATCHDOG_USEC: "1000000" }, undefined],
    ["nothing, with an empty socket", { NOTIFY_SOCKET: "" }, undefined],
    ["notices alone", { NOTIFY_SOCKET: "@n" }, { socket: "@n", watchdogMs: undefined }],
    ["pings", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "1500000" }, { socket: "/n", watchdogMs: 1_500 }],
    [
      "our pings",
      { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "1", WATCHDOG_PID: "4711" },
      { socket: "/n", watchdogMs: 0.001 },
    ],
    ["another's pings", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "1", WATCHDOG_PID: "4712" }, silent("/n")],
    ["pings at no time", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "0" }, silent("/n")],
    ["pings at some time", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "soon" }, silent("/n")],
  ];
  test.each(cases)("is %s", (_, environment, expected) => {
    expect(takeNotifySettings(environment, pid)).toEqual(expected);
  });

  test("is not handed on to children, and nothing else is kept from them", () => {
    const environment = { PATH: "/bin", NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "1", WATCHDOG_PID: "4711" };
    takeNotifySettings(environment, pid);
    expect(environment).toEqual({ PATH: "/bin" });
  });
});

function silent(socket: string): NotifySettings {
  return { socket, watchdogMs: undefined };
}

describe("a service", () => {
  const watchdogMs = 80_000;
  const ping = ["READY=1", "WATCHDOG=1", "STATUS=2 keys"];
  let sent: (readonly string[])[];
  let logged: unknown[][];
  let proveWork: () => Promise<unknown>;
  let service: SystemdService;

  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    proveWork = () => Promise.resolve();
    service = newService({ socket: "/n", watchdogMs }, (variables) => {
      sent.push(variables);
      return Promise.resolve();
    });
  });
  afterEach(async () => {
    await service.stopping();
    vi.useRealTimers();
  });

  function newService(settings: NotifySettings | undefined, send: (variables: readonly string[]) => Promise<void>) {
    logged = [];
    const log: Log = {
      info: (event) => logged.push(["info", event]),
      warn: (event, fields) => logged.push(["warn", event, fields?.["reason"]]),
      error: (event, fields) => logged.push(["error", event, fields?.["reason"]]),
    };
    return new SystemdService({ settings, status: () => "2 keys", proveWork: () => proveWork(), log, send });
  }

  test("tells of its start, a new configuration, and its end", async () => {
    await service.ready();
    await service.reloading();
    await service.ready();
    await service.stopping();
    await service.stopping();
    const ready = ["READY=1", "STATUS=2 keys"];
    expect(sent).toEqual([ready, ["RELOADING=1"], ready, ["STOPPING=1", "STATUS="]]);
  });

  test("says nothing, and asks nothing of itself, where nobody listens", async () => {
    const asked = vi.fn(proveWork);
    proveWork = asked;
    service = newService(undefined, (variables) => Promise.resolve(void sent.push(variables)));
    await service.ready();
    await vi.advanceTimersByTimeAsync(10 * watchdogMs);
    expect(sent).toEqual([]);
    expect(asked).not.toHaveBeenCalled();
  });

  test("pings at a third of the watchdog's time, however often it was made ready, until it stops", async () => {
    await service.ready();
    await service.ready();
    sent = [];
    await vi.advanceTimersByTimeAsync(watchdogMs / 3 - 1);
    expect(sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(1 + (watchdogMs / 3) * 2);
    expect(sent).toEqual([ping, ping, ping]);
    await service.stopping();
    sent = [];
    await vi.advanceTimersByTimeAsync(10 * watchdogMs);
    expect(sent).toEqual([]);
  });

  test("does not ping when nobody watches", async () => {
    service = newService({ socket: "/n", watchdogMs: undefined }, (variables) =>
      Promise.resolve(void sent.push(variables)),
    );
    await service.ready();
    await vi.advanceTimersByTimeAsync(10 * watchdogMs);
    expect(sent).toHaveLength(1);
  });

  test("does not ping while its work is not done, though its timers go on, and says why", async () => {
    await service.ready();
    sent = [];
    proveWork = () => new Promise(() => undefined);
    await vi.advanceTimersByTimeAsync(10 * watchdogMs);
    expect(sent).toEqual([]);
    expect(logged).toEqual([["error", "stuck", "no answer within 10 s"]]);
  });

  test("asks again in time when it was stuck for a moment, and pings then", async () => {
    await service.ready();
    sent = [];
    proveWork = () => Promise.reject(new Error("connect ENOENT"));
    await vi.advanceTimersByTimeAsync(watchdogMs / 3);
    proveWork = () => Promise.resolve();
    await vi.advanceTimersByTimeAsync(watchdogMs / 4);
    expect(sent).toEqual([ping]);
    expect(logged).toEqual([
      ["error", "stuck", "connect ENOENT"],
      ["info", "stuck-no-more"],
    ]);
  });

  test("goes on when systemd cannot be told, and warns once of what will come of it", async () => {
    const missing = Object.assign(new Error("spawn systemd-notify ENOENT"), { code: "ENOENT" });
    service = newService({ socket: "/n", watchdogMs }, () => Promise.reject(missing));
    await service.ready();
    await vi.advanceTimersByTimeAsync(10 * watchdogMs);
    await service.stopping();
    const consequence = "a unit with Type=notify or WatchdogSec= is ended when its time is over";
    expect(logged).toEqual([
      ["warn", "systemd-not-notified", `systemd-notify is not installed (package systemd); ${consequence}`],
    ]);
  });

  test("does not wait a third of the time again with a ping that was not taken", async () => {
    const refused = new Error("Failed to notify init system");
    const attempts: (readonly string[])[] = [];
    service = newService({ socket: "/n", watchdogMs }, (variables) => {
      attempts.push(variables);
      return attempts.length === 2 ? Promise.reject(refused) : Promise.resolve();
    });
    await service.ready();
    await vi.advanceTimersByTimeAsync(watchdogMs * 0.75);
    expect(attempts.slice(1)).toEqual([ping, ping]);
  });
});
