import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { rpcCodes } from "../../../shared/protocol/errors.ts";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import { notifications, requests } from "../../../shared/protocol/message.ts";
import { messageVectors, vectorNames } from "../../vectors/load.ts";

const document = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");

const mentioned = new Set(
  [...document.matchAll(/`((?:frame|session|values|messages|cache)\/[^`]+)`/g)].map(([, name]) => name),
);

describe("docs/protocol.md", () => {
  it("mentions only vectors that exist", () => {
    expect([...mentioned].filter((name) => name === undefined || !vectorNames.includes(name))).toEqual([]);
  });

  it("mentions every vector", () => {
    expect(vectorNames.filter((name) => !mentioned.has(name))).toEqual([]);
  });

  it("names every method, notification and error", () => {
    for (const name of [...Object.keys(requests), ...Object.keys(notifications)]) expect(document).toContain(name);
    for (const [name, code] of Object.entries(rpcCodes))
      expect(document).toMatch(new RegExp(`\\| ${name} +\\| ${code} +\\|`));
  });

  it("shows frames with their true checksums", () => {
    const shown = [...document.matchAll(/1E "([0-9a-f]{8}) " (\{.*\}) 0A/g)];
    expect(shown.length).toBeGreaterThan(1);
    for (const [, checksum, payload] of shown) {
      expect(encodeFrame(JSON.parse(payload ?? "")).toString("latin1", 1, 9)).toBe(checksum);
    }
  });

  it("has no two vectors of one name", () => {
    expect(new Set(vectorNames).size).toBe(vectorNames.length);
    expect(messageVectors.length).toBeGreaterThan(0);
  });
});
