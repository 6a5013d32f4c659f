import { describe, expect, test } from "vitest";
import { builtinModules } from "../../../../../agent/bootstrap/builtin/index.ts";
import { enumerate, enumerationJson, enumerationLines } from "../../../../../agent/bootstrap/enumerate.ts";
import { type ConfigModule, ModuleError, type Parameter } from "../../../../../agent/bootstrap/module.ts";

const never = new AbortController().signal;

function parameter(key: string, more: Partial<Parameter> = {}): Parameter {
  const flags = { required: false, hidden: false, password: false, keep: false };
  return { key, aliases: [], description: `what ${key} is`, ...flags, ...more };
}

function moduleOf(name: string, order: number, parameters: ConfigModule["parameters"]): ConfigModule {
  return {
    name,
    description: name,
    kind: "script",
    path: `/etc/vmmessage/template.d/${name}`,
    orders: new Map([["configure", order]]),
    timeoutMs: 1_000,
    parameters,
    run: () => Promise.resolve({ results: {} }),
    preview: () => Promise.resolve([]),
  };
}

const web = moduleOf("web", 50, () => {
  return Promise.resolve([
    parameter("web.port", { default: "80" }),
    parameter("web.secret", { required: true, password: true, default: "hunter2", aliases: ["old.secret"] }),
    parameter("web.internal", { hidden: true }),
  ]);
});
const broken = moduleOf("broken", 5, () => Promise.reject(new ModuleError("its header is no JSON")));
const empty = moduleOf("empty", 60, () => Promise.resolve([]));

describe("the parameters of a target's modules", () => {
  test("stand in the modules' order, for programs", async () => {
    const json = enumerationJson(await enumerate([web, empty, broken], "configure", never));
    const plain = { required: false, hidden: false, password: false, aliases: [] };
    expect(JSON.parse(JSON.stringify(json))).toEqual([
      { module: "broken", error: "its header is no JSON" },
      { module: "web", key: "web.port", description: "what web.port is", ...plain, default: "80" },
      {
        ...{ module: "web", key: "web.secret", description: "what web.secret is", ...plain },
        ...{ required: true, password: true, aliases: ["old.secret"] },
      },
      { module: "web", key: "web.internal", description: "what web.internal is", ...plain, hidden: true },
    ]);
  });

  test("are a table for people, without hidden ones, and without the default of a secret", async () => {
    expect(enumerationLines(await enumerate([web, empty, broken], "configure", never))).toEqual([
      "MODULE  KEY         NOTES               DEFAULT  DESCRIPTION",
      "broken                                           cannot be told: its header is no JSON",
      "web     web.port                        80       what web.port is",
      "        web.secret  required, password           what web.secret is (also old.secret)",
      "empty                                            takes no keys",
    ]);
  });

  test("of another target are not among them", async () => {
    expect(await enumerate([web], "cleanup", never)).toEqual([]);
  });

  test("of the ready-made modules are known", async () => {
    const json = enumerationJson(await enumerate(builtinModules(), "reconfigure", never));
    expect(json).toMatchObject([
      { module: "hostname", key: "org.vmmessage.hostname", aliases: ["com.oracle.linux.network.hostname"] },
      { module: "users", key: "org.vmmessage.users", aliases: [] },
      { module: "root-password", key: "org.vmmessage.root-password", password: true },
    ]);
  });

  test("are not listed any further when somebody has had enough", async () => {
    const stop = new AbortController();
    const hanging = moduleOf("hanging", 1, (_, signal) => {
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reject(new ModuleError("ended"));
        });
        stop.abort(new Error("enough"));
      });
    });
    await expect(enumerate([hanging, web], "configure", stop.signal)).rejects.toThrow("enough");
  });
});
