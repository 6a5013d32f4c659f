import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadTemplate } from "../../../../../agent/bootstrap/templates/load-template.ts";
import type { ConfigModule } from "../../../../../agent/bootstrap/module.ts";

const PATH = "/etc/vmmessage/template.d/web.yaml";
const EXAMPLE = join(import.meta.dirname, "../../../../../examples/template.d/nginx-site.yaml");
const never = new AbortController().signal;

function load(text: string): Promise<ConfigModule> {
  return loadTemplate(PATH, text);
}

/** What is wrong with a file, without its name. */
async function problemOf(text: string): Promise<string> {
  try {
    await load(text);
    return "nothing";
  } catch (error) {
    expect(error).toMatchObject({ name: "ModuleError" });
    return (error as Error).message.replace(`${PATH}: `, "");
  }
}

describe("a template", () => {
  test("that says little is called as its file, and takes part where a run configures", async () => {
    const module = await load("check: [/bin/true]");
    expect(module).toMatchObject({ name: "web", description: "", kind: "template", path: PATH, timeoutMs: 300_000 });
    expect([...module.orders]).toEqual([
      ["configure", 50],
      ["reconfigure", 50],
    ]);
    expect(await module.parameters("configure", never)).toEqual([]);
  });

  test("says its name, its places and its time", async () => {
    await expect(load("timeout: 25h\ncheck: [/bin/true]")).rejects.toThrow("timeout: is longer than one day");
    const module = await load("name: w\nconfigure: 60\nreconfigure: 10\ntimeout: 90s\ncheck: [/bin/true]");
    expect(module).toMatchObject({ name: "w", timeoutMs: 90_000 });
    expect([...module.orders.values()]).toEqual([60, 10]);
    expect([...(await load("configure: 7\ncheck: [/bin/true]")).orders.values()]).toEqual([7, 7]);
  });

  test("says what it takes", async () => {
    const module = await load(`
check: [/bin/true]
parameters:
  port: { key: com.example.port, aliases: [org.other.port], description: Where, type: integer, default: 80, required: true }
  password: { key: com.example.password, required: true, secret: true, keep: true }
  site: { key: com.example.site, type: json, default: { a: [1] } }
  on: { key: com.example.on, type: boolean, default: no }
`);
    expect(await module.parameters("configure", never)).toEqual([
      {
        key: "com.example.port",
        aliases: ["org.other.port"],
        description: "Where",
        required: false,
        hidden: false,
        password: false,
        keep: false,
        default: "80",
      },
      expect.objectContaining({ key: "com.example.password", required: true, password: true, keep: true }),
      expect.objectContaining({ key: "com.example.site", default: '{"a":[1]}' }),
      expect.objectContaining({ key: "com.example.on", default: "no" }),
    ]);
  });

  test("that comes as an example loads", async () => {
    const module = await loadTemplate(EXAMPLE, readFileSync(EXAMPLE, "utf8"));
    expect(module.name).toBe("nginx-site");
    expect(await module.parameters("configure", never)).toHaveLength(5);
  });

  test("is refused with all its problems at once, each with its line and member", async () => {
    const text = `
descripton: x
timeout: 60
parameters:
  Port: { key: com.example.port }
  host:
    key: a=b
files:
  - path: /etc/../web.conf
    content: x
    mode: 0644
units:
  reload: [nginx]
`;
    expect((await problemOf(text)).split("; ")).toEqual([
      expect.stringMatching(/^line 2: descripton: unknown member \(known: name, description, configure, /),
      'line 3: timeout: must be a duration in quotes or with its unit, as "90", 10m or 2h',
      "line 5: parameters.Port: a variable's name begins with a letter, and has a-z 0-9 _",
      "line 7: parameters.host.key: a key cannot contain '='",
      "line 9: files[0].path: must be an absolute path without '.', '..' and doubled or closing slashes",
      'line 11: files[0].mode: must be permission bits in octal, in quotes, as "0640"',
      "line 13: units.reload[0]: must be a unit with its type, as nginx.service",
    ]);
  });

  test("with a thousand problems names the first", async () => {
    const text = Array.from({ length: 1_000 }, (_, index) => `member${index}: 1\n`).join("");
    const problem = await problemOf(text);
    expect(problem).toMatch(/; and 992 more$/);
    expect(problem.length).toBeLessThan(2_000);
  });

  const bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]";

  test.each([
    { text: "", problem: /^line 1: Invalid input: expected object, received null$/ },
    { text: "- a", problem: /expected object, received array/ },
    { text: "name: x\nname: y", problem: "line 2: Map keys must be unique" },
    { text: "name: [", problem: /^line 1: Flow sequence/ },
    { text: "name: x\n---\nname: y", problem: /multiple documents/ },
    { text: "name: !!js/function x", problem: /^line 1: Unresolved tag/ },
    { text: "? [a]\n: 1", problem: /all keys must be strings/ },
    { text: bomb, problem: /^Excessive alias count/ },
    { text: "name: a b\ncheck: [x]", problem: /^line 1: name: a module's name is/ },
    { text: "description: x", problem: "line 1: has nothing to do: it needs files, units or a check" },
    { text: "check: []", problem: /^line 1: check: / },
    { text: "files: [{ path: /a }]", problem: "line 1: files[0]: needs exactly one of content and template" },
    {
      text: "files: [{ path: /a, content: x, template: x }]",
      problem: "line 1: files[0]: needs exactly one of content and template",
    },
    { text: "files: [{ path: a, content: x }]", problem: /must be an absolute path/ },
    { text: "files: [{ path: /a/, content: x }]", problem: /must be an absolute path/ },
    { text: "files: [{ path: /a, template: ../x }]", problem: /must be a path below the template's own directory/ },
    { text: "files: [{ path: /a, template: /x }]", problem: /must be a path below the template's own directory/ },
    {
      text: "files:\n  - { path: /a, content: x }\n  - { path: /a, content: y }",
      problem: "line 3: files[1].path: '/a' is there twice",
    },
    {
      text: "files:\n  - { path: /a, content: x }\n  - { path: /a/b, content: y }",
      problem: "line 3: files[1].path: one of '/a' and '/a/b' would have to be a directory",
    },
    {
      text: "units: { reload: [a.service], restart: [a.service] }",
      problem: "line 1: units: 'a.service' is there twice",
    },
    { text: "units: { reload: [--now.service] }", problem: /must be a unit/ },
  ])("is refused: $problem", async ({ text, problem }) => {
    expect(await problemOf(text)).toMatch(problem);
  });
});

describe("a template's parameter is refused", () => {
  test.each([
    { member: "type: text", problem: /Invalid option/ },
    { member: "type: integer, default: eighty", problem: "default: 'eighty' is no integer" },
    { member: "type: integer, default: 1.5", problem: "default: '1.5' is no integer" },
    { member: "default: 1.10", problem: "default: '1.1' is no text; put it in quotes" },
    { member: "default: ~", problem: "default: 'null' is no text; put it in quotes" },
    { member: "type: boolean, default: [true]", problem: "default: '[true]' is no boolean" },
    { member: "type: json, default: '{'", problem: "default: '{' is no JSON" },
    { member: "type: json, default: &a [*a]", problem: "default: refers to itself" },
    { member: "default: x, enum: [a, b]", problem: "default: 'x' is none of a, b" },
    { member: "default: hunter2, secret: true, enum: [a]", problem: "default: the value is none of a" },
    { member: "type: integer, enum: [1, two]", problem: "enum: 'two' is no integer" },
    { member: "enum: [1]", problem: "enum: '1' is no text; put it in quotes" },
    { member: "type: json, enum: [a]", problem: "enum: is for the types string, integer and number" },
    { member: "pattern: '['", problem: /^pattern: does not compile: / },
    { member: "pattern: 'a)|(b'", problem: /^pattern: does not compile: / },
    { member: "type: integer, pattern: a", problem: "pattern: is for the type string" },
    { member: "minimum: 1", problem: "minimum: is for the types integer and number" },
    { member: "maximum: 1", problem: "maximum: is for the types integer and number" },
    { member: "type: number, minimum: 2, maximum: 1", problem: "minimum: is more than the maximum" },
    { member: "keep: true", problem: "keep: is for secrets: all other values are kept anyway" },
  ])("with { $member }", async ({ member, problem }) => {
    const text = `check: [/bin/true]\nparameters:\n  x: { key: com.example.x, ${member} }`;
    expect((await problemOf(text)).replace(/^line 3: parameters\.x\./, "")).toMatch(problem);
  });

  test("with a name that means something in a template", async () => {
    expect(await problemOf("check: [x]\nparameters: { nil: { key: a } }")).toMatch(
      /means something else in a template/,
    );
  });

  test("with the key of another", async () => {
    const text = "check: [x]\nparameters:\n  a: { key: k }\n  b: { key: k }";
    expect(await problemOf(text)).toBe("line 4: parameters.b.key: 'k' has another variable already");
  });
});

describe("the text of a file is refused", () => {
  test.each([
    { content: "{{ port }} {{ nmae }}", problem: "uses 'nmae', which is not among the parameters (known: port)" },
    { content: "{% if nmae %}x{% endif %}", problem: /uses 'nmae'/ },
    { content: "{% for x in nmae %}{{ x }}{% endfor %}", problem: /uses 'nmae'/ },
    { content: "{{ port | plus: nmae }}", problem: /uses 'nmae'/ },
    { content: "{{ port", problem: /not closed, line:1, col:1/ },
    { content: "{% if port %}", problem: /not closed/ },
    { content: "{{ port | upcse }}", problem: /undefined filter: upcse/ },
    { content: "{% include '/etc/shadow' %}", problem: /tag "include" not found/ },
    { content: "{% render '/etc/shadow' %}", problem: /tag "render" not found/ },
    { content: "{% layout '/etc/shadow' %}", problem: /tag "layout" not found/ },
  ])("that is $content", async ({ content, problem }) => {
    const text = `parameters: { port: { key: p } }\nfiles:\n  - path: /a\n    content: ${JSON.stringify(content)}`;
    expect((await problemOf(text)).replace("line 4: files[0].content: ", "")).toMatch(problem);
  });

  test("unless the template makes the variable itself", async () => {
    const content =
      "{% assign y = x | upcase %}{% capture z %}{{ y }}{% endcapture %}{% for i in (1..2) %}{{ i }}{{ z }}{% endfor %}";
    const text = `parameters: { x: { key: p } }\nfiles: [{ path: /a, content: ${JSON.stringify(content)} }]`;
    expect(await problemOf(text)).toBe("nothing");
  });
});
