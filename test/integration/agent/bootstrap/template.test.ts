/** Templates at work: real files, real checks, and a systemctl that tells what it was asked. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type ConfigModule, type GivenValue, ModuleError, type ModuleRun } from "../../../../agent/bootstrap/module.ts";
import { loadTemplate } from "../../../../agent/bootstrap/templates/load-template.ts";
import { SecretFiles } from "../../../../agent/bootstrap/templates/secret-files.ts";
import { Units } from "../../../../agent/bootstrap/units.ts";
import { MAX_REPORTED_LINES } from "../../../../shared/bootstrap.ts";

const never = new AbortController().signal;
const EXAMPLE = join(import.meta.dirname, "../../../../examples/template.d/nginx-site.yaml");

let directory: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "template-")));
  // `fails` and `defers` name units with which it does; what else it is told it does, and notes.
  writeFileSync(
    at("systemctl"),
    `#!/bin/sh
shift 2
for unit; do :; done
if [ "$1" = show ]; then
  if grep -qsx "$unit" ${at("defers")}; then echo ActiveState=inactive; echo Job=7; fi
  echo LoadState=loaded
  exit 0
fi
echo "$* with $(cat ${at("a.conf")} 2>/dev/null)" >> ${at("orders")}
if grep -qsx "$unit" ${at("fails")}; then echo "Job for $unit failed." >&2; exit 1; fi
`,
  );
  chmodSync(at("systemctl"), 0o755);
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

function at(name: string): string {
  return join(directory, name);
}

/** A template of the test's owner and group, in which DIR is its directory. */
function template(text: string): Promise<ConfigModule> {
  const owned = text.replaceAll(
    /path: DIR/g,
    `owner: ${process.geteuid?.()}, group: ${process.getegid?.()}, path: DIR`,
  );
  return loadTemplate(at("web.yaml"), owned.replaceAll("DIR", directory), {
    units: new Units(at("systemctl")),
    secretFiles: new SecretFiles(at("state")),
  });
}

function runOf(values: Record<string, string>, more: Partial<ModuleRun> = {}): ModuleRun {
  const given = Object.entries(values).map(([key, value]): [string, GivenValue] => [key, { value, isSecret: false }]);
  return { target: "configure", values: new Map(given), signal: never, ...more };
}

function contents(name: string): string | undefined {
  return existsSync(at(name)) ? readFileSync(at(name), "utf8") : undefined;
}

function orders(): string[] {
  return (contents("orders") ?? "").split("\n").slice(0, -1);
}

async function failureOf(run: Promise<unknown>): Promise<ModuleError> {
  const error = await run.then(
    () => new Error("it went well"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ModuleError);
  return error as ModuleError;
}

const SITE = `
parameters:
  port: { key: com.example.port, type: integer, required: true }
  name: { key: com.example.name }
files:
  - { path: DIR/a.conf, content: "port {{ port }}" }
  - { path: DIR/sub/b.conf, content: "{% if name %}name {{ name }}{% endif %}", mode: "0640" }
`;

describe("a template", () => {
  test("renders its files, checks them, and has its units take them", async () => {
    const module = await template(
      `${SITE}check: [sh, -c, "cat DIR/a.conf DIR/sub/b.conf > DIR/seen"]\nunits: { reload: [web.service], restart: [app.service] }`,
    );
    const { results, skipped } = await module.run(runOf({ "com.example.port": "80", "com.example.name": "x" }));
    expect(skipped).toBeUndefined();
    expect(results).toEqual({
      "web.files": `${at("a.conf")}, ${at("sub/b.conf")}`,
      "web.units": "app.service done, web.service done",
    });
    expect(contents("seen")).toBe("port 80name x");
    expect(lstatSync(at("sub/b.conf")).mode & 0o7777).toBe(0o640);
    expect(orders()).toEqual(["restart app.service with port 80", "reload-or-restart web.service with port 80"]);
  });

  test("that changes nothing neither checks nor troubles a unit", async () => {
    const module = await template(`${SITE}check: [sh, -c, "echo x >> DIR/checks"]\nunits: { restart: [app.service] }`);
    await module.run(runOf({ "com.example.port": "80" }));
    const again = await module.run(runOf({ "com.example.port": "80" }));
    expect(again).toEqual({ results: {} });
    expect(orders()).toHaveLength(1);
    expect(contents("checks")).toBe("x\n");
    await module.run(runOf({ "com.example.port": "81" }));
    expect(orders()).toHaveLength(2);
  });

  test("without files checks and acts each time", async () => {
    const module = await template("check: [sh, -c, 'echo x >> DIR/checks']\nunits: { restart: [app.service] }");
    await module.run(runOf({}));
    expect(await module.run(runOf({}))).toEqual({ results: { "web.units": "app.service done" } });
    expect(contents("checks")).toBe("x\nx\n");
    expect(orders()).toHaveLength(2);
  });

  test("says of a unit that waits for the configuration that it is deferred", async () => {
    writeFileSync(at("defers"), "app.service\n");
    const module = await template(`${SITE}units: { restart: [app.service] }`);
    const { results } = await module.run(runOf({ "com.example.port": "80" }));
    expect(results["web.units"]).toBe("app.service deferred: it starts with the new files after the configuration");
    expect(orders()).toEqual(["--no-block restart app.service with port 80"]);
  });

  test("none of whose keys is set is skipped", async () => {
    const module = await template(SITE);
    expect(await module.run(runOf({ other: "x" }))).toEqual({ results: {}, skipped: "none of its keys is set" });
    expect(await module.preview(runOf({}))).toEqual(["would be skipped: none of its keys is set"]);
    expect(existsSync(at("a.conf"))).toBe(false);
  });

  test.each([
    { values: { "com.example.name": "x" }, message: "needs com.example.port, which is not set" },
    { values: { "com.example.port": "eighty" }, message: "com.example.port: 'eighty' is no integer" },
  ])("is refused before anything changes: $message", async ({ values, message }) => {
    const module = await template(SITE);
    expect((await failureOf(module.run(runOf(values)))).message).toBe(message);
    expect((await failureOf(module.preview(runOf(values)))).message).toBe(message);
    expect(existsSync(at("a.conf"))).toBe(false);
  });

  test("all of whose files cannot be rendered renders none", async () => {
    const module = await template(`
parameters: { x: { key: x, type: json } }
files:
  - { path: DIR/a.conf, content: "x" }
  - { path: DIR/b.conf, content: "{{ x.y }}" }
`);
    const { message } = await failureOf(module.run(runOf({ x: "{}" })));
    expect(message).toBe(`${at("b.conf")}: undefined variable: x.y, line:1, col:4`);
    expect(existsSync(at("a.conf"))).toBe(false);
  });

  test("whose owner is nobody known is refused", async () => {
    const module = await template(`files: [{ owner: nobody-here, path: ${directory}/a.conf, content: x }]`);
    const { message } = await failureOf(module.run(runOf({})));
    expect(message).toBe(`${at("a.conf")}: there is no user 'nobody-here' in /etc/passwd`);
  });

  test("keeps a file private that has a secret in it, unless it says otherwise", async () => {
    const module = await template(`
parameters: { pin: { key: pin, secret: true }, code: { key: code } }
files:
  - { path: DIR/pin, content: "{{ pin }}" }
  - { path: DIR/code, content: "{{ code }}" }
  - { path: DIR/shared, content: "{{ pin }}", mode: "0640" }
  - { path: DIR/plain, content: x }
`);
    const secret: GivenValue = { value: "1234", isSecret: true };
    await module.run(
      runOf(
        {},
        {
          values: new Map([
            ["pin", { ...secret, isSecret: false }],
            ["code", secret],
          ]),
        },
      ),
    );
    const modes = ["pin", "code", "shared", "plain"].map((name) => lstatSync(at(name)).mode & 0o7777);
    expect(modes).toEqual([0o600, 0o600, 0o640, 0o644]);
  });

  test("takes a text from a file beside it that nobody else could have changed", async () => {
    mkdirSync(at("texts"));
    writeFileSync(at("texts/a.liquid"), "from a file: {{ x }}");
    const text = "parameters: { x: { key: x } }\nfiles: [{ path: DIR/a.conf, template: texts/a.liquid }]";
    await (await template(text)).run(runOf({ x: "y" }));
    expect(contents("a.conf")).toBe("from a file: y");
    chmodSync(at("texts/a.liquid"), 0o646);
    expect((await failureOf(template(text))).message).toBe(
      `${at("web.yaml")}: line 2: files[0].template: ${at("texts/a.liquid")}: anybody could change it; chmod o-w`,
    );
    rmSync(at("texts/a.liquid"));
    expect((await failureOf(template(text))).message).toMatch(/files\[0\]\.template: \S+\/texts\/a\.liquid: ENOENT$/);
  });
});

describe("when its check fails", () => {
  /** With an old a.conf, and none in sub. */
  async function failureOfCheck(check: string, more: Partial<ModuleRun> = {}): Promise<ModuleError> {
    writeFileSync(at("a.conf"), "old");
    const module = await template(`${SITE}check: ${check}\nunits: { restart: [app.service] }`);
    const error = await failureOf(module.run(runOf({ "com.example.port": "80" }, more)));
    expect(contents("a.conf")).toBe("old");
    expect(readdirSync(directory).filter((name) => name === "sub" || name.startsWith("."))).toEqual([]);
    expect(orders()).toEqual([]);
    return error;
  }

  test("the files are as they were, and it says what the check said", async () => {
    const { message, lines } = await failureOfCheck("[sh, -c, 'echo out; echo \"unknown directive\" >&2; exit 3']");
    expect(message).toMatch(/^check 'sh -c .*' failed: exit code 3; the files are as they were$/);
    expect(lines.toSorted()).toEqual(["out", "unknown directive"]);
  });

  test("because it is not there, it says so", async () => {
    const { message } = await failureOfCheck("[no-such-check, -t]");
    expect(message).toBe(
      "check 'no-such-check -t' failed: 'no-such-check' cannot be started: ENOENT; the files are as they were",
    );
  });

  test("because it floods, its last lines are kept and no more", async () => {
    const { lines } = await failureOfCheck(
      "[sh, -c, 'yes | head -c 20000000; head -c 3000000 /dev/zero; echo; seq 1 19; exit 1']",
    );
    expect(lines).toHaveLength(MAX_REPORTED_LINES);
    expect(lines.slice(0, 2)).toEqual(["(a line of more than 65536 bytes)", "1"]);
    expect(lines.at(-1)).toBe("19");
  });

  test("because it hangs until the time is up, what it started ends with it", async () => {
    const stop = new AbortController();
    const failure = failureOfCheck(
      "[sh, -c, 'trap : TERM; (sleep 1000; true) & echo $! > DIR/child; wait; wait; sleep 1000']",
      {
        signal: stop.signal,
      },
    );
    await vi.waitUntil(() => contents("child")?.endsWith("\n"));
    stop.abort(new ModuleError("it did not end within 60 s"));
    expect((await failure).message).toMatch(/failed: it did not end within 60 s; the files are as they were$/);
    const child = Number(contents("child"));
    await vi.waitUntil(
      () => !existsSync(`/proc/${child}`) || readFileSync(`/proc/${child}/stat`, "utf8").includes(") Z "),
    );
  });

  test("the next run is like the first", async () => {
    const module = await template(`${SITE}check: [test, -e, DIR/well]`);
    await failureOf(module.run(runOf({ "com.example.port": "80" })));
    writeFileSync(at("well"), "");
    const { results } = await module.run(runOf({ "com.example.port": "80" }));
    expect(results["web.files"]).toContain(at("a.conf"));
  });

  test("the command got no shell, no input, none of our environment, and the root directory", async () => {
    process.env["SECRET_OF_OURS"] = "x";
    const { lines } = await failureOfCheck(
      `[sh, -c, 'cat; echo "$PWD $LANG $SECRET_OF_OURS$1"; exit 1', sh, "$HOME;"]`,
    );
    expect(lines).toEqual(["/ C.UTF-8 $HOME;"]);
  });
});

describe("when a unit fails", () => {
  test("the files are as they were, and the units that took them take those", async () => {
    writeFileSync(at("a.conf"), "old");
    writeFileSync(at("fails"), "second.service\n");
    const module = await template(`${SITE}units: { restart: [first.service, second.service, third.service] }`);
    const { message, lines } = await failureOf(module.run(runOf({ "com.example.port": "80" })));
    expect(message).toMatch(
      /^'systemctl restart second\.service' failed: exit code 1 \(the unit's result: unknown\); the files are as they were; second\.service could not be made to run with them: /,
    );
    expect(lines).toEqual(["Job for second.service failed."]);
    expect(contents("a.conf")).toBe("old");
    expect(orders()).toEqual([
      "restart first.service with port 80",
      "restart second.service with port 80",
      "restart first.service with old",
      "restart second.service with old",
    ]);
  });

  test("because the time is up, the units are asked back without waiting", async () => {
    writeFileSync(at("a.conf"), "old");
    const stop = new AbortController();
    appendFileSync(at("systemctl"), 'if [ "$1" = restart ]; then sleep 1000; fi\n');
    const module = await template(`${SITE}units: { restart: [app.service] }`);
    const failure = failureOf(module.run(runOf({ "com.example.port": "80" }, { signal: stop.signal })));
    await vi.waitUntil(() => orders().length === 1);
    stop.abort(new ModuleError("it did not end within 60 s"));
    expect((await failure).message).toMatch(/it did not end within 60 s; the files are as they were$/);
    expect(orders()).toEqual(["restart app.service with port 80", "--no-block restart app.service with old"]);
  });
});

describe("a secret that was erased once used", () => {
  const TEMPLATE = `
parameters:
  port: { key: port, type: integer, default: 80 }
  pw: { key: pw, secret: true }
  pin: { key: pin, secret: true, default: "0000" }
files:
  - { path: DIR/a.conf, content: "port {{ port }}{% if pw %} pw {{ pw }}{% endif %}" }
  - { path: DIR/b.conf, content: "port {{ port }}" }
  - { path: DIR/pin, content: "{{ pin }}" }
`;
  const again = (key: string, name: string): string =>
    `needs ${key} again: ${at(name)} was rendered with it; a secret is erased once used: send it, or delete the file`;

  test("is missed before anything changes", async () => {
    await (await template(TEMPLATE)).run(runOf({ port: "80", pw: "hunter2" }));
    const next = await template(TEMPLATE);
    expect((await failureOf(next.run(runOf({ port: "81" })))).message).toBe(again("pw", "a.conf"));
    expect((await failureOf(next.preview(runOf({ port: "81" })))).message).toBe(again("pw", "a.conf"));
    expect([contents("a.conf"), contents("b.conf")]).toEqual(["port 80 pw hunter2", "port 80"]);
    await next.run(runOf({ port: "81", pw: "hunter3" }));
    expect([contents("a.conf"), contents("b.conf")]).toEqual(["port 81 pw hunter3", "port 81"]);
  });

  test("is not missed where nothing else would change", async () => {
    const module = await template(TEMPLATE);
    await module.run(runOf({ port: "81", pw: "hunter2" }));
    expect(await module.run(runOf({ port: "81" }))).toEqual({ results: {} });
    expect(await module.preview(runOf({ port: "81" }))).toEqual([]);
    expect(contents("a.conf")).toBe("port 81 pw hunter2");
    expect((await failureOf(module.run(runOf({ port: "82" })))).message).toBe(again("pw", "a.conf"));
  });

  test("is not missed where it was never given, or its file is gone", async () => {
    const module = await template(TEMPLATE);
    writeFileSync(at("a.conf"), "of the package");
    await module.run(runOf({ port: "80" }));
    await module.run(runOf({ port: "81" }));
    await module.run(runOf({ port: "81", pw: "hunter2" }));
    rmSync(at("a.conf"));
    await module.run(runOf({ port: "82" }));
    expect(contents("a.conf")).toBe("port 82");
    await module.run(runOf({ port: "83" }));
    expect(contents("a.conf")).toBe("port 83");
  });

  test("is not missed where the run that had it failed", async () => {
    const module = await template(`${TEMPLATE}check: [sh, -c, "! grep hunter2 DIR/a.conf"]`);
    await module.run(runOf({ port: "80" }));
    await failureOf(module.run(runOf({ port: "80", pw: "hunter2" })));
    await module.run(runOf({ port: "81" }));
    expect(contents("a.conf")).toBe("port 81");
  });

  test("does not give way to a default", async () => {
    const module = await template(TEMPLATE);
    await module.run(runOf({ pin: "1234" }));
    await module.run(runOf({ port: "81" }));
    expect([contents("pin"), contents("b.conf")]).toEqual(["1234", "port 81"]);
  });

  test("is missed where only another one of its file is sent again", async () => {
    const module = await template(`
parameters: { a: { key: a, secret: true }, b: { key: b, secret: true } }
files: [{ path: DIR/both, content: "{{ a }} {{ b }}" }]
`);
    await module.run(runOf({ a: "first", b: "second" }));
    expect((await failureOf(module.run(runOf({ a: "first" })))).message).toBe(again("b", "both"));
  });

  test("is in no record, which is root's", async () => {
    await (await template(TEMPLATE)).run(runOf({ pw: "hunter2", pin: "1234" }));
    const record = at("state/bootstrap/secret-files.json");
    expect(readFileSync(record, "utf8")).toContain('"keys":["pw"]');
    expect(readFileSync(record, "utf8")).not.toMatch(/hunter2|1234/);
    expect(lstatSync(record).mode & 0o777).toBe(0o600);
  });

  test("cannot be forgotten: without a record nothing changes", async () => {
    mkdirSync(at("state"));
    writeFileSync(at("state/bootstrap"), "");
    const module = await template(TEMPLATE);
    expect((await failureOf(module.run(runOf({ pw: "hunter2" })))).message).toContain("secret-files.json: ENOTDIR");
    expect(existsSync(at("a.conf"))).toBe(false);
    rmSync(at("state/bootstrap"));
    mkdirSync(at("state/bootstrap"));
    writeFileSync(at("state/bootstrap/secret-files.json"), "{");
    expect((await failureOf(module.run(runOf({ pw: "hunter2" })))).message).toContain("remove it to start anew");
  });
});

describe("a preview", () => {
  test("shows what would change, and changes nothing", async () => {
    writeFileSync(at("a.conf"), "one\nport 79\nthree\n", { mode: 0o600 });
    const module = await template(`
parameters: { port: { key: port, type: integer } }
files:
  - { path: DIR/a.conf, content: "one\\nport {{ port }}\\nthree\\n" }
  - { path: DIR/sub/b.conf, content: "new\\n" }
check: [nginx, -t]
units: { reload: [nginx.service] }
`);
    const us = `owner ${process.geteuid?.()}:${process.getegid?.()}`;
    const before = readdirSync(directory);
    expect(await module.preview(runOf({ port: "80" }))).toEqual([
      `${at("a.conf")}: ${us} mode 0600 -> ${us} mode 0644`,
      `--- ${at("a.conf")}`,
      `+++ ${at("a.conf")}`,
      "@@ -1,3 +1,3 @@",
      " one",
      "-port 79",
      "+port 80",
      " three",
      `${at("sub/b.conf")}: new, ${us} mode 0644`,
      "--- /dev/null",
      `+++ ${at("sub/b.conf")}`,
      "@@ -0,0 +1,1 @@",
      "+new",
      "would check with 'nginx -t'",
      "would reload nginx.service",
    ]);
    expect(readdirSync(directory)).toEqual(before);
  });

  test("of what is already so is empty", async () => {
    const module = await template("files: [{ path: DIR/a.conf, content: x }]\nunits: { restart: [app.service] }");
    await module.run(runOf({}));
    expect(await module.preview(runOf({}))).toEqual([]);
  });

  test("shows no secret: not the new one, not what a filter makes of it, and not an earlier one", async () => {
    const module = await template(`
parameters:
  token: { key: token, secret: true }
  login: { key: login, type: json }
  host: { key: host }
files:
  - { path: DIR/a.conf, content: "host {{ host }}\\ntoken {{ token }}\\nbasic {{ token | base64_encode }} {{ login.user }}\\n" }
`);
    const old = "host a\ntoken hunter1\nbasic aHVudGVyMQ== root\nextra hunter1\n";
    writeFileSync(at("a.conf"), old, { mode: 0o600 });
    const login: GivenValue = { value: '{"user":"hunter3"}', isSecret: true };
    const { values } = runOf({ token: "hunter2", host: "a" });
    const lines = await module.preview(runOf({}, { values: new Map([...values, ["login", login]]) }));
    expect(lines.join("\n")).not.toMatch(/hunter|aHVudGVy/);
    expect(lines.slice(2)).toEqual([
      "@@ -1,4 +1,3 @@",
      " host a",
      "-***",
      "-***",
      "-***",
      "+token ***",
      `+basic ${Buffer.from("***").toString("base64")} ***`,
    ]);
  });

  test("shows no secret that an old file happens to hold", async () => {
    writeFileSync(at("a.conf"), "hunter2\n");
    const module = await template(`
parameters: { token: { key: token, secret: true } }
files: [{ path: DIR/a.conf, content: "x\\n" }]
`);
    const lines = await module.preview(runOf({ token: "hunter2" }));
    expect(lines).toContain("-***");
    expect(lines.join("\n")).not.toContain("hunter2");
  });

  test.each([
    { name: "is no text", old: Buffer.from([0, 1, 0xff]) },
    { name: "is large", old: Buffer.alloc(300_000, "x\n") },
  ])("says no more of a file that $name", async ({ old }) => {
    writeFileSync(at("a.conf"), old, { mode: 0o644 });
    const module = await template("files: [{ path: DIR/a.conf, content: x }]");
    expect(await module.preview(runOf({}))).toEqual([`${at("a.conf")}: other contents, not shown`]);
  });
});

describe("the example", () => {
  test("renders a site from few keys, and a larger one from more", async () => {
    const text = readFileSync(EXAMPLE, "utf8")
      .replaceAll("path: /", "path: DIR/")
      .replace("[nginx, -t]", "[/bin/true]");
    const inPlace = text.replaceAll(
      /^( *)- path: /gm,
      `$1- owner: ${process.geteuid?.()}\n$1  group: ${process.getegid?.()}\n$1  path: `,
    );
    const module = await loadTemplate(EXAMPLE, inPlace.replaceAll("DIR", directory), {
      units: new Units(at("systemctl")),
    });
    await module.run(runOf({ "com.example.web.port": "8080", "com.oracle.linux.network.hostname": "www.example.com" }));
    const site = "etc/nginx/sites-enabled/vmmessage-site.conf";
    expect(contents(site)?.trim().split("\n")).toEqual([
      "server {",
      "  listen 8080;",
      "  server_name www.example.com;",
      "  root /var/www/vmmessage-site;",
      "}",
    ]);
    const token = "0123456789abcdef";
    const values = { "com.example.web.backends": "10.0.0.1:90,[::1]:91", "com.example.web.api-token": token };
    expect((await failureOf(module.run(runOf(values)))).message).toMatch(
      /^com\.example\.web\.backends: .* does not match/,
    );
    await module.run(runOf({ ...values, "com.example.web.backends": "10.0.0.1:90,10.0.0.2:91" }));
    expect(contents(site)).toContain(`server 10.0.0.1:90;\n  server 10.0.0.2:91;\n}`);
    expect(contents(site)).toContain(`proxy_set_header Authorization "Bearer ${token}";`);
    expect(orders()).toHaveLength(2);
  });
});
