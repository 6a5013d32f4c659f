import { describe, expect, it } from "vitest";
import { LocalProtocolError, RequestError } from "../../../shared/protocol/errors.ts";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import { MAX_PAYLOAD } from "../../../shared/protocol/limits.ts";
import type { SessionEvent } from "../../../shared/protocol/session.ts";
import { payloadsOf } from "./pieces.ts";
import { AGENT_NONCE, EPOCH, FACTS, JoinedSessions } from "./sessions.ts";

function openSessions(): JoinedSessions {
  const joined = new JoinedSessions();
  joined.open();
  return joined;
}

function theRequest(events: SessionEvent[]): Extract<SessionEvent, { type: "request" }>["request"] {
  const event = events.find(({ type }) => type === "request");
  if (event?.type !== "request") throw new Error("no request arrived");
  return event.request;
}

describe("an opener and a guest", () => {
  it("have the same session once the hello is answered", () => {
    const joined = new JoinedSessions();
    const { opener, guest } = joined.open();
    const hello = { role: "guest", nonce: AGENT_NONCE, version: 1, ...FACTS };
    expect(guest.map(({ type }) => type)).toEqual(["opened"]);
    expect(opener).toMatchObject([{ type: "opened", hello }, { type: "result" }]);
    expect(joined.opener.session).toBe(joined.guest.session);
  });

  it("exchange a request and its answer", () => {
    const joined = openSessions();
    const asked = joined.opener.request("get", { key: "a" });
    const request = theRequest(joined.toGuest(asked.bytes).guest);
    if (request.method !== "get") throw new Error("not what was asked");
    expect(request.params).toEqual({ key: "a" });
    const entry = {
      key: "a",
      value: "1",
      setBy: "host",
      setAt: "2026-11-21T07:00:00.000Z",
      ageMs: 0,
      revision: 8,
    } as const;
    const bytes = joined.guest.result(request, { epoch: EPOCH, entry });
    expect(joined.toOpener(bytes)).toEqual([{ type: "result", id: asked.id, result: { epoch: EPOCH, entry } }]);
  });

  it("exchange a refusal with its details", () => {
    const joined = openSessions();
    const asked = joined.opener.request("get", { key: "a" });
    const request = theRequest(joined.toGuest(asked.bytes).guest);
    const [event] = joined.toOpener(joined.guest.error(request, new RequestError("over-limit", "full", { free: 3 })));
    if (event?.type !== "refused") throw new Error("not refused");
    expect(event.error).toMatchObject({ code: "over-limit", message: "full", details: { free: 3 } });
  });

  it("exchange the guest's own requests the same way", () => {
    const joined = openSessions();
    const asked = joined.guest.request("event", { messageId: "m1", event: "UP" });
    const request = theRequest(joined.toOpener(asked.bytes));
    const { guest } = joined.toGuest(joined.opener.result(request, {}));
    expect(guest).toEqual([{ type: "result", id: asked.id, result: {} }]);
  });

  it("pass notifications on within the session only", () => {
    const joined = openSessions();
    const late = joined.guest.notify("heartbeat", { uptimeMs: 1, epoch: EPOCH, revision: 7 });
    expect(joined.toOpener(late)).toMatchObject([{ type: "notification", notification: { method: "heartbeat" } }]);
    joined.open();
    expect(joined.toOpener(late)).toEqual([]);
  });

  it("hold what the hello asked for", () => {
    const joined = new JoinedSessions();
    joined.toGuest(joined.opener.hello({ accepts: ["acknowledge"], acknowledgeOf: "m1", newEpoch: true }).bytes);
    expect(joined.hellos).toMatchObject([{ accepts: ["acknowledge"], acknowledgeOf: "m1", newEpoch: true }]);
  });
});

describe("what we ask for ourselves", () => {
  it("is refused before a session is open, and nothing is sent", () => {
    const joined = new JoinedSessions();
    expect(() => joined.opener.request("ping", {})).toThrow(LocalProtocolError);
    expect(() => joined.guest.request("event", { messageId: "m1", event: "UP" })).toThrow(/no session is open/);
    expect(() => joined.guest.notify("heartbeat", { uptimeMs: 1, epoch: EPOCH, revision: 7 })).toThrow(/no session/);
  });

  it("is held to the same schema as what the other side asks for", () => {
    const joined = openSessions();
    expect(() => joined.opener.request("get", { key: "a=b" })).toThrow(/get: key: a key cannot contain '='/);
    expect(() => joined.guest.request("event", { messageId: "m1", event: "lower" })).toThrow(LocalProtocolError);
  });

  it("is refused after the guest closed its session", () => {
    const joined = openSessions();
    joined.guest.close();
    expect(() => joined.guest.request("event", { messageId: "m1", event: "UP" })).toThrow(LocalProtocolError);
    expect(joined.guest.session).toBeUndefined();
  });

  it("matches no answer once it is forgotten", () => {
    const joined = openSessions();
    const asked = joined.opener.request("ping", {});
    const request = theRequest(joined.toGuest(asked.bytes).guest);
    joined.opener.forget(asked.id);
    expect(joined.toOpener(joined.guest.result({ ...request, method: "ping" }, { uptimeMs: 1 }))).toEqual([]);
  });

  it("gets ids that no two requests share", () => {
    const joined = openSessions();
    const first = joined.opener.request("ping", {}).id;
    const second = joined.opener.request("ping", {}).id;
    joined.open();
    const third = joined.opener.request("ping", {}).id;
    expect(new Set([first, second, third]).size).toBe(3);
  });
});

describe("a peer that means harm", () => {
  it("gets a short answer to the largest wrong request", () => {
    const { guest } = openSessions();
    const accepts = "0,".repeat(MAX_PAYLOAD / 2 - 100);
    const payload = `{"jsonrpc":"2.0","id":"h1.1","method":"hello","params":{"accepts":[${accepts}0]}}`;
    const sent = guest.receive(encodeFrame(JSON.parse(payload))).flatMap((e) => (e.type === "send" ? [e.bytes] : []));
    expect(sent).toHaveLength(1);
    expect(Buffer.concat(sent).length).toBeLessThan(2000);
  });

  it("gets no answer that repeats more than 64 characters of what it said", () => {
    const { guest } = openSessions();
    const request = { jsonrpc: "2.0", id: "h".repeat(64), method: "m".repeat(100_000), params: {} };
    const [sent] = guest.receive(encodeFrame(request)).flatMap((e) => (e.type === "send" ? payloadsOf(e.bytes) : []));
    expect(JSON.stringify(sent).length).toBeLessThan(1000);
  });

  it("cannot answer a request before it is asked, or ask for what is known to every object", () => {
    const { opener } = openSessions();
    expect(opener.receive(encodeFrame({ jsonrpc: "2.0", id: "h1111111111111111.2", result: {} }))).toEqual([]);
    for (const method of ["__proto__", "toString", "hasOwnProperty"]) {
      const events = opener.receive(encodeFrame({ jsonrpc: "2.0", method, params: {} }));
      expect(events.map(({ type }) => type)).toEqual(["violation"]);
    }
  });
});
