import { describe, expect, it, test } from "vitest";
import { parseValuesFile } from "../../../../host-cli/bootstrap/values-file.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";

const parse = (text: string, name = "/srv/web1.yaml") => parseValuesFile(Buffer.from(text), name);

/** What is said of a file `web1.yaml`. */
function problem(text: string | Uint8Array): string {
  try {
    parseValuesFile(Buffer.from(text), "web1.yaml");
  } catch (error) {
    if (error instanceof CommandError && error.code === "usage") return error.message;
    throw error;
  }
  return "none";
}

/** The value that is sent for what stands behind a key. */
function valueOf(yaml: string): string | undefined {
  return parse(`keys:\n  a: ${yaml}\n`).keys[0]?.value;
}

test("a file has keys, and secrets that are in other files or asked for", () => {
  const file = `
# of web1
keys:
  com.example.web.port: 8081
  org.vmmessage.users:
    - name: alice
      sshAuthorizedKeys: ["ssh-ed25519 AAAA"]
secrets:
  com.example.db.password: { file: db-password }
  com.example.key: { file: /root/key }
  com.example.api-token: { prompt: API token }
`;
  expect(parse(file)).toEqual({
    keys: [
      { key: "com.example.web.port", value: "8081" },
      { key: "org.vmmessage.users", value: '[{"name":"alice","sshAuthorizedKeys":["ssh-ed25519 AAAA"]}]' },
    ],
    secrets: [
      { from: "file", key: "com.example.db.password", path: "/srv/db-password" },
      { from: "file", key: "com.example.key", path: "/root/key" },
      { from: "prompt", key: "com.example.api-token", prompt: "API token" },
    ],
  });
});

test("JSON is a file too", () => {
  expect(parse('{"keys": {"a": "1", "b": {"c": [1, null, true]}}}').keys).toEqual([
    { key: "a", value: "1" },
    { key: "b", value: '{"c":[1,null,true]}' },
  ]);
});

describe("what is sent is", () => {
  it.each([
    ["007", "007"],
    ["1.10", "1.10"],
    ["+5", "+5"],
    ["0x1F", "0x1F"],
    ["1e3", "1e3"],
    ["12345678901234567890", "12345678901234567890"],
    ["true", "true"],
    ["False", "false"],
    ["yes", "yes"],
    ["12:30:45", "12:30:45"],
    ['"2026-01-15"', "2026-01-15"],
    ['""', ""],
    ["'null'", "null"],
    ["!!str 1.0", "1.0"],
    ["|\n    one\n    two", "one\ntwo\n"],
    [">-\n    one\n    two", "one two"],
    ["[1.50, 'x', {b: 2}]", '[1.5,"x",{"b":2}]'],
    ["{__proto__: {x: 1}}", '{"__proto__":{"x":1}}'],
    ["{1: a, true: b}", '{"1":"a","true":"b"}'],
    ["[]", "[]"],
  ])("of %s", (yaml, value) => {
    expect(valueOf(yaml)).toBe(value);
  });
});

describe("a file is refused, with the line, where", () => {
  it.each([
    ["it is empty", "", `1: this is no map`],
    ["it is a list", "- a\n", `1: this is no map`],
    ["a member is not known", "keys: {}\nvalues: {}\n", "2: 'values' is not known here"],
    ["its keys are a list", "keys:\n  - a\n", "1: 'keys' is no map"],
    ["its secrets are nothing", "keys: {}\nsecrets:\n", "2: 'secrets' is no map"],
    ["a key stands twice", "keys:\n  a: 1\n  b: 2\n  a: 3\n", "4: Map keys must be unique"],
    ["a member of a value stands twice", "keys:\n  a:\n    x: 1\n    x: 2\n", "4: Map keys must be unique"],
    ["a key cannot be one", "keys:\n  a=b: 1\n", "2: 'a=b': a key cannot contain '='"],
    ["a key is the commit", "keys:\n  org.vmmessage.commit: 1\n", "2: 'org.vmmessage.commit' is set with each"],
    ["a key is the report", "keys:\n  org.vmmessage.bootstrap: 1\n", "2: 'org.vmmessage.bootstrap' is where"],
    ["a key is a list", "keys:\n  [a]: 1\n", "2: With stringKeys, all keys must be strings"],
    ["a value is a date", "keys:\n  a: 1\n  b: 2026-01-15\n", "3: 'b' is a date to YAML; quote it"],
    ["a value is a time", "keys:\n  a: 2026-01-15T12:00:00Z\n", "2: 'a' is a date to YAML; quote it"],
    ["a value is none", "keys:\n  a:\n  b: 1\n", "2: 'a' has no value (null in YAML); quote it"],
    ["a value is null", "keys:\n  a: ~\n", "2: 'a' has no value (null in YAML); quote it"],
    ["a list has a date", "keys:\n  a:\n    - 1\n    - 2026-01-15\n", "4: this is a date to YAML; quote it"],
    ["a list has too large a number", "keys:\n  a: [1, 12345678901234567890]\n", "2: this is a number that JSON"],
    ["a map has an infinite number", "keys:\n  a:\n    b: .inf\n", "3: this is a number that JSON"],
    ["a value is an alias", "keys:\n  a: &x 1\n  b: *x\n", "3: 'b' is an alias; write its value out"],
    ["a list has an alias", "keys:\n  a: &x 1\n  b: [*x]\n", "3: this is an alias; write its value out"],
    ["a value has half a character", 'keys:\n  a: "\\uD800"\n', "2: this is no well-formed Unicode"],
    ["a tag is not known", "keys:\n  a: !env HOME\n", "2: Unresolved tag: !env"],
    ["it has two documents", "keys: {}\n---\nkeys: {}\n", "2: Source contains multiple documents"],
    ["it is cut", "keys:\n  a: [1,\n", "3: Flow sequence"],
    [
      "it is nested too deeply",
      `keys:\n  a: ${"[".repeat(20_000)}${"]".repeat(20_000)}\n`,
      "2: it is nested too deeply",
    ],
    ["a secret stands there", "secrets:\n  a: hunter2\n", "2: 'a' is a secret, which is {file: PATH} or"],
    ["a secret is of two kinds", "secrets:\n  a: {file: x, prompt: y}\n", "2: 'a' is a secret, which is"],
    ["a secret is of another kind", "secrets:\n  a: {value: hunter2}\n", "2: 'a' is a secret, which is"],
    ["a secret's file is none", "secrets:\n  a: {file: ''}\n", "2: 'a' is a secret, which is"],
    ["a secret's prompt is a number", "secrets:\n  a: {prompt: 1}\n", "2: 'a' is a secret, which is"],
  ])("%s", (_, text, message) => {
    const said = problem(text);
    expect(said).toContain(`web1.yaml:${message}`);
    expect(said).not.toContain("hunter2");
    expect(said).not.toContain("\n");
  });

  it("it is not UTF-8", () => {
    expect(problem(Buffer.from([0x6b, 0xff]))).toBe("web1.yaml is not UTF-8; it has to be YAML");
  });
});
