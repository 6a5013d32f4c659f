import { describe, expect, it } from "vitest";
import { RequestError, rpcCodes, type RpcErrorName } from "../../../shared/protocol/errors.ts";
import { isMethod, isNotification, notifications, parseMessage, requests } from "../../../shared/protocol/message.ts";
import { messageVectors } from "../../vectors/load.ts";

function namesOf(kind: string): string[] {
  const names = messageVectors.filter((vector) => vector.kind === kind).map((v) => ("method" in v ? v.method : v.code));
  return [...new Set(names)].sort();
}

describe.each(messageVectors)("messages/$name", (vector) => {
  const message = parseMessage(JSON.stringify(vector.payload));

  it("is what it says it is", () => {
    expect(message.type).toBe(vector.kind);
  });

  it("is sound, and nothing of it is dropped", () => {
    if (vector.kind === "error") {
      if (message.type !== "error") throw new Error("not an error");
      expect(RequestError.fromRpc(message.error).toRpc()).toEqual(vector.payload["error"]);
      expect(message.error.data.code).toBe(vector.code);
      return;
    }
    const { method } = vector;
    const { params, result } = vector.payload as { params?: unknown; result?: unknown };
    if (vector.kind === "notification") {
      if (!isNotification(method)) throw new Error(`no notification ${method}`);
      expect(notifications[method].parse(params)).toEqual(params);
      return;
    }
    if (!isMethod(method)) throw new Error(`no method ${method}`);
    if (vector.kind === "request") expect(requests[method].params.parse(params)).toEqual(params);
    else expect(requests[method].result.parse(result)).toEqual(result);
  });
});

describe("the vectors show", () => {
  it("every request and its result", () => {
    expect(namesOf("request")).toEqual(Object.keys(requests).sort());
    expect(namesOf("result")).toEqual(Object.keys(requests).sort());
  });

  it("every notification", () => {
    expect(namesOf("notification")).toEqual(Object.keys(notifications).sort());
  });

  it("every error, with its number", () => {
    expect(namesOf("error")).toEqual(Object.keys(rpcCodes).sort());
    for (const vector of messageVectors) {
      if (vector.kind !== "error") continue;
      expect((vector.payload["error"] as { code: number }).code).toBe(rpcCodes[vector.code as RpcErrorName]);
    }
  });
});
