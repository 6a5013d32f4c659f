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
    ["[1.5, 'x', {b: 2}]", '[1.5,"x",{"b":2}]'],
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
    ["a key stands twice", "keys:\n  a: 1\n  b: 2\n  a: 3\n", "4: this key stands twice"],
    ["a member of a value stands twice", "keys:\n  a:\n    x: 1\n    x: 2\n", "4: this key stands twice"],
    ["a key cannot be one", "keys:\n  a=b: 1\n", "2: 'a=b': a key cannot contain '='"],
    ["a key is the commit", "keys:\n  org.vmmessage.commit: 1\n", "2: 'org.vmmessage.commit' is set with each"],
    ["a key is the report", "keys:\n  org.vmmessage.bootstrap: 1\n", "2: 'org.vmmessage.bootstrap' is where"],
    ["a key is a list", "keys:\n  [a]: 1\n", "2: a key is no text"],
    ["a value is a date", "keys:\n  a: 1\n  b: 2026-01-15\n", "3: 'b' is a date to YAML; quote it"],
    ["a value is a time", "keys:\n  a: 2026-01-15T12:00:00Z\n", "2: 'a' is a date to YAML; quote it"],
    ["a value is none", "keys:\n  a:\n  b: 1\n", "2: 'a' has no value (null in YAML); quote it"],
    ["a value is null", "keys:\n  a: ~\n", "2: 'a' has no value (null in YAML); quote it"],
    ["a list has a date", "keys:\n  a:\n    - 1\n    - 2026-01-15\n", "4: this is a date to YAML; quote it"],
    [
      "a list has too large a number",
      "keys:\n  a: [1, 12345678901234567890]\n",
      "2: JSON writes this number in another way; quote it",
    ],
    [
      "a map has an infinite number",
      "keys:\n  a:\n    b: .inf\n",
      "3: JSON writes this number in another way; quote it",
    ],
    ["a value is an alias", "keys:\n  a: &x 1\n  b: *x\n", "3: 'b' is an alias; write its value out"],
    ["a list has an alias", "keys:\n  a: &x 1\n  b: [*x]\n", "3: this is an alias; write its value out"],
    ["a value has half a character", 'keys:\n  a: "\\uD800"\n', "2: this is no well-formed Unicode"],
    ["a tag is not known", "keys:\n  a: !env HOME\n", "2: a tag ('!') is not known"],
    ["it has two documents", "keys: {}\n---\nkeys: {}\n", "2: there are several documents ('---')"],
    ["it is cut", "keys:\n  a: [1,\n", "3: the indentation does not fit what stands before, or a bracket"],
    ["a secret is a block's header", "keys:\n  pw: |hunter2\n", "2: this is not expected here"],
    ["a secret is an alias", "keys:\n  pw: *hunter2\n", "2: 'pw' is an alias"],
    ["a secret is a tag", "keys:\n  pw: !hunter2 x\n", "2: a tag ('!') is not known"],
    ["a secret is a directive", "%hunter2 x\n---\nkeys: {}\n", "1: a directive ('%'"],
    ["a secret has an escape", 'keys:\n  pw: "\\hunter2"\n', '2: an escape sequence in a "text"'],
    ["a member of a list's map stands twice", "keys:\n  a: [{x: 1, x: 2}]\n", "2: this key stands twice"],
    ["a secret's key stands twice", "secrets:\n  a: {file: x}\n  a: {file: y}\n", "3: this key stands twice"],
    ["a part stands twice", "keys: {}\nkeys: {}\n", "2: this key stands twice"],
    ["a map's key has half a character", 'keys:\n  a: {"\\uD800": 1}\n', "2: this is no well-formed Unicode"],
    ["a list's text has half a character", 'keys:\n  a: ["\\uD800"]\n', "2: this is no well-formed Unicode"],
    ...["007", "1.10", "1.0", "+5", "0x1F", "1e3", "-0", "9007199254740993", ".nan"].map(
      (number): [string, string, string] => [
        `a list has ${number}`,
        `keys:\n  a: [1, {b: ${number}}]\n`,
        "2: JSON writes this number in another way; quote it",
      ],
    ),
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
    // Between line and message stands the column.
    expect(said.replace(/^(web1\.yaml:\d+):\d+/, "$1")).toContain(`web1.yaml:${message}`);
    expect(said).not.toContain("hunter2");
    expect(said).not.toContain("\n");
  });

  it("and the column of the first problem, too", () => {
    expect(problem("keys:\n  pw: |hunter2\n")).toBe(
      "web1.yaml:2:8: this is not expected here; a text with such characters has to be quoted",
    );
    expect(problem("keys:\n  a: 1\n  bc: 2026-01-15\n")).toMatch(/^web1\.yaml:3:7: 'bc' is a date/);
  });

  it("it is not UTF-8", () => {
    expect(problem(Buffer.from([0x6b, 0xff]))).toBe("web1.yaml is not UTF-8; it has to be YAML");
  });
});

describe("a file that is much too large for one set", () => {
  const many = (count: number, line: (index: number) => string) => Array.from({ length: count }, (_, index) => line(index)).join(""); // prettier-ignore

  it("is refused by the count of its keys, within a second", () => {
    const beganMs = performance.now();
    expect(() => parse(`keys:\n${many(20_000, (index) => `  k${index}: 1\n`)}`)).toThrow(
      "/srv/web1.yaml: 'keys' has 20000 keys, over the limit of 1024 for one set",
    );
    expect(performance.now() - beganMs).toBeLessThan(2_000);
  });

  it("is read in a time that grows with its size, whatever its maps are like", () => {
    const value = many(20_000, (index) => `    k${index}: 1\n`);
    expect(parse(`keys:\n  a:\n${value}`).keys[0]?.value).toContain('"k19999":1}');
  }, 5_000);
});
