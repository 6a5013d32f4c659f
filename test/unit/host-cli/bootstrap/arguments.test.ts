import { describe, expect, it } from "vitest";
import type { Command } from "../../../../host-cli/command.ts";
import { parseArguments } from "../../../../host-cli/parse-arguments.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";

const HERE = { hostname: "node7", environment: {} };

/** `vmmessage WORDS`, cut at the spaces. */
function parse(words: string): Command {
  const parsed = parseArguments(words.split(" "), HERE);
  if (parsed.type === "text") throw new Error(`printed: ${parsed.text}`);
  return parsed.command;
}

function refusal(words: string): string {
  try {
    parse(words);
  } catch (error) {
    if (error instanceof CommandError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "not refused";
}

const prompted = (key: string) => ({ from: "prompt", key, prompt: key });

describe("a command line means", () => {
  it.each<[string, object]>([
    [
      "bootstrap -v web1 --file web1.yaml",
      { name: "bootstrap", file: "web1.yaml", values: [], secrets: [], commit: undefined, follows: true },
    ],
    ["bootstrap --file - --socket /run/web1.sock", { file: "-", target: { socket: "/run/web1.sock" } }],
    ["bootstrap -v web1 --commit 2026-11-20 --no-wait", { commit: "2026-11-20", follows: false, file: undefined }],
    ["bootstrap -v web1 --set a=1 --set b==x", { values: [{ key: "a", value: "1" }, { key: "b", value: "=x" }] }], // prettier-ignore
    ["bootstrap -v web1 --secret a --secret b", { secrets: [prompted("a"), prompted("b")] }],
    ["-v web1 --direct bootstrap --secret a --json", { secrets: [prompted("a")], style: "json" }],
    ["bootstrap -v web1 --secret=a", { secrets: [prompted("a")] }],
    ["bootstrap -v web1 --secret-file a=/x=y", { secrets: [{ from: "file", key: "a", path: "/x=y" }] }],
    ["bootstrap -v web1 --set a=1 --timeout 20m --quiet", { timeoutMs: 1_200_000, style: "quiet" }],
    ["bootstrap -v web1 --set a=1", { timeoutMs: undefined, door: { via: "local" } }],
    ["bootstrap -v web1 --secret a -u admin -p - -h m", { secrets: [prompted("a")], login: { password: "-" } }],
  ])("%s", (words, command) => {
    expect(parse(words)).toMatchObject(command);
  });

  it("--secret of other commands is still that of all their values", () => {
    expect(parse("-v web1 set a=bootstrap --secret")).toMatchObject({ name: "set", attributes: { secret: true } });
    expect(parse("-v bootstrap set a=1 --secret")).toMatchObject({ name: "set", attributes: { secret: true } });
    expect(parse("get bootstrap -v web1")).toMatchObject({ name: "get", key: "bootstrap" });
  });
});

describe("a command line is refused", () => {
  it.each([
    ["bootstrap -v web1", "bootstrap: what is to be set? --file FILE, --set KEY=VALUE, --secret KEY or --secret-file KEY=PATH"], // prettier-ignore
    ["bootstrap --file x", "which VM? name it with -v VM, or its socket with --socket PATH"],
    ["bootstrap -v web* --file x", "bootstrap is for one VM; many can be asked with set, get, delete, clear and ping"],
    ["bootstrap -v web1 --set a", "'a' is not KEY=VALUE"],
    ["bootstrap -v web1 --set =1", "'': a key cannot be empty"],
    ["bootstrap -v web1 --secret a=1", "'a=1': a key cannot contain '='"],
    ["bootstrap -v web1 --secret-file a", "--secret-file: 'a' is not KEY=PATH"],
    ["bootstrap -v web1 --secret-file a=", "--secret-file: 'a=' is not KEY=PATH"],
    ["bootstrap -v web1 --file=", "--file: the path of the values is empty"],
    ["bootstrap -v web1 --commit=", "--commit: it is empty; a guest could not tell it from none"],
    [`bootstrap -v web1 --commit ${"x".repeat(257)}`, "--commit: it is longer than 256 characters"],
    ["bootstrap -v web1 --file x more", "too many arguments for 'bootstrap'. Expected 0 arguments but got 1: more.; see vmmessage --help"], // prettier-ignore
    ["bootstrap -v web1 --file x -k a -V 1", "-k stands alone, without 'bootstrap'"],
    ["bootstrap -v web1 --file x --ttl 1h", "--ttl goes with set, not with bootstrap"],
    ["bootstrap -v web1 --file x --expires 1h", "--expires goes with set, delete and clear, not with bootstrap"],
    ["bootstrap -v web1 --file x --wait-ack", "--wait-ack goes with set and receipt, not with bootstrap"],
    [
      "bootstrap -v web1 --file - --secret a",
      "there is only one standard input; give the password in VMMESSAGE_PASSWORD, or the rest in a file",
    ],
    [
      "bootstrap -v web1 --file - -u admin -p -",
      "there is only one standard input; give the password in VMMESSAGE_PASSWORD, or the rest in a file",
    ],
  ])("%s", (words, message) => {
    expect(refusal(words)).toBe(`usage: ${message}`);
  });
});

it("--help lists the command, and the command's own help has examples and the file", () => {
  const text = (words: string) => {
    const parsed = parseArguments(words.split(" "), HERE);
    return parsed.type === "text" ? parsed.text : "";
  };
  expect(text("--help")).toContain("\n  bootstrap [options] ");
  expect(text("--help")).toContain("\n  --secret ");
  const own = text("bootstrap --help");
  for (const part of ["--secret <key>", "--no-wait", "vmmessage bootstrap -v web1 --file", "org.vmmessage.commit"]) {
    expect(own).toContain(part);
  }
});
