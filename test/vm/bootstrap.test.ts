// A Debian with systemd that configures itself from what its host has set, from before its first boot on.
import { mkdtemp, readFile, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventPage, ShownEvent } from "../../shared/api/event-schemas.ts";
import { COMMIT_KEY } from "../../shared/bootstrap.ts";
import { type Outcome, Running } from "../integration/host-cli/programs.ts";
import { ManagerUnderTest } from "../integration/support/managers.ts";
import { type DebianOptions, startDebianGuest } from "./debian/guest.ts";
import { propertyOf, stateOf, systemIsUp, untilState } from "./debian/systemd.ts";
import type { Guest } from "./harness/guest.ts";
import { waitFor } from "./harness/wait-for.ts";

const root = join(import.meta.dirname, "..", "..");
const vmmessageProgram = join(root, "dist", "vmmessage.js");
const uuid = "172dd6f8-0000-4000-8000-0000000000c3";
const minutes = { timeoutMs: 240_000, intervalMs: 500 };
const allUnits = ["vmmessage-agent.service", "vmmessage-bootstrap.service", "vmmessage-reconfigure.service"];
const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmVBnPgk5Lr8Fv1Lrr5Jr3hXq0JkW3H0m3GzqGd0Yxa alice@desk";

/** A host with a manager, which knows the guest's channel before there is a guest. */
class HostWithManager implements AsyncDisposable {
  readonly manager: ManagerUnderTest;
  readonly directory: string;
  readonly #running: Running[] = [];

  private constructor(manager: ManagerUnderTest, directory: string) {
    this.manager = manager;
    this.directory = directory;
  }

  static async open(): Promise<HostWithManager> {
    const directory = await mkdtemp(join(tmpdir(), "vmm-bootstrap-"));
    const listed = { name: "web1", uuid, socket: join(directory, "channel") };
    return new HostWithManager(await ManagerUnderTest.start([listed]), directory);
  }

  /** From now on the channel leads to this guest. */
  async connect(guest: Guest): Promise<void> {
    const path = join(this.directory, "channel");
    await unlink(path).catch(() => undefined);
    await symlink(guest.channelPath, path);
  }

  async file(name: string, text: string): Promise<string> {
    const path = join(this.directory, name);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  }

  /** Ends before the test does, whatever becomes of the guest. */
  bootstrap(file: string, ...more: string[]): Promise<Outcome> {
    const args = ["bootstrap", "-v", "web1", "--file", file, "--timeout", "4m", ...more];
    const running = new Running(vmmessageProgram, args, { env: { VMMESSAGE_MANAGER: this.manager.socketPath } });
    this.#running.push(running);
    return running.outcome();
  }

  async events(type: string): Promise<ShownEvent[]> {
    const { body } = await this.manager.get<EventPage>(`/v1/events?type=${type}`);
    return body.events;
  }

  /** The last event of that type that is as wanted. */
  async untilEvent(type: string, isWanted: (event: ShownEvent) => boolean = () => true): Promise<ShownEvent> {
    let found: ShownEvent | undefined;
    await waitFor(type, async () => (found = (await this.events(type)).findLast(isWanted)) !== undefined, minutes);
    if (found === undefined) throw new Error(`no ${type}`);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) if (running.child.exitCode === null) await running.kill("SIGKILL");
    await this.manager[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true });
  }
}

const template = (content: string) => ({ content, mode: 0o644 });
const script = (content: string) => ({ content, mode: 0o755 });

async function siteTemplate(): Promise<{ content: string; mode: number }> {
  return template(await readFile(join(root, "examples/template.d/nginx-site.yaml"), "utf8"));
}

/** An application in the guest, and a module of Oracle VM's kind, as it was written for ovm-template-config. */
const applicationFiles: DebianOptions["files"] = {
  "etc/vmmessage/template.d/app.yaml": template(`name: app
configure: 70
parameters:
  role: { key: com.example.app.role, description: What it is, required: true, enum: [frontend, backend] }
  password: { key: com.example.app.password, description: Its password, secret: true, keep: true }
files:
  - { path: /etc/app.conf, content: "role={{ role }}\\n", group: adm, mode: "0640" }
units: { restart: [app.service] }
`),
  "etc/systemd/system/app.service": template(`[Service]
LoadCredential=password:/run/vmmessage/keys/com.example.app.password
ExecStart=/bin/sh -c 'echo "$(cat /etc/app.conf) $(cat $CREDENTIALS_DIRECTORY/password)" >> /var/lib/app.starts; exec sleep infinity'
`),
  "etc/systemd/system/nginx.service.d/configured.conf": template(`[Unit]
Requires=vmmessage-configured.target
After=vmmessage-configured.target
`),
  "etc/template.d/scripts/motd": script(`#!/usr/bin/python3
### BEGIN PLUGIN INFO
# name: motd
# configure: 80
# description: the message of the day
### END PLUGIN INFO
import json
from templateconfig.cli import main

def do_enumerate(target):
    return json.dumps([{'key': 'com.example.motd', 'description': 'The message', 'required': True}])

def do_configure(param):
    param = json.loads(param)
    with open('/etc/motd', 'w') as motd:
        motd.write(param['com.example.motd'])
    return json.dumps(param)

if __name__ == '__main__':
    main(do_enumerate, {'configure': do_configure})
`),
};

const values = (port: number, role: string) => `keys:
  org.vmmessage.hostname: web1.example.com
  org.vmmessage.users:
    - name: alice
      sshAuthorizedKeys: ["${sshKey}"]
  com.example.web.port: ${port}
  com.example.web.greeting: Hello from ${role}
  com.example.app.role: ${role}
  com.example.motd: Welcome
secrets:
  com.example.app.password: { file: password }
`;

describe("a guest whose keys were set before its first boot", () => {
  let host: HostWithManager;
  let guest: Guest;
  let outcome: Outcome;

  beforeAll(async () => {
    host = await HostWithManager.open();
    await host.file("password", "geheimnis\n");
    const following = host.bootstrap(await host.file("values.yaml", values(8080, "frontend")));
    await waitFor("the message that waits", async () => {
      const { body } = await host.manager.get<{ pending: unknown[] }>("/v1/vms/web1/messages");
      return JSON.stringify(body).includes(COMMIT_KEY);
    });
    const site = { "etc/vmmessage/template.d/nginx-site.yaml": await siteTemplate() };
    guest = await startDebianGuest({ uuid, files: { ...applicationFiles, ...site }, units: allUnits });
    await host.connect(guest);
    outcome = await following;
  });
  afterAll(async () => {
    const started: Partial<Record<"guest" | "host", AsyncDisposable>> = { guest, host };
    await started.guest?.[Symbol.asyncDispose]();
    await started.host?.[Symbol.asyncDispose]();
  });

  test("is told about as it configures itself, module by module", async () => {
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stdout).toMatch(/Bootstrap of 'web1' succeeded/);
    for (const module of ["hostname", "users", "nginx-site", "app", "motd"]) {
      expect(outcome.stderr).toMatch(new RegExp(`${module} +ok`));
    }
    const ended = await host.untilEvent("BOOTSTRAP.SUCCEEDED");
    expect(ended).toMatchObject({ data: { target: "configure", instance: uuid, outcome: "ok" } });
    expect(await host.events("BOOTSTRAP.STARTED")).toHaveLength(1);
  });

  test("has its name, its user with the key, the rendered files and the message of an Oracle VM module", async () => {
    expect(await guest.shell("hostname; cat /etc/hostname")).toBe("web1.example.com\nweb1.example.com");
    expect(await guest.shell("cat ~alice/.ssh/authorized_keys")).toBe(sshKey);
    expect(await guest.shell("stat -c '%U %a' ~alice/.ssh ~alice/.ssh/authorized_keys")).toBe("alice 700\nalice 600");
    expect(await guest.shell("cat /etc/app.conf; stat -c '%G %a' /etc/app.conf")).toBe("role=frontend\nadm 640");
    expect(await guest.readText("/etc/motd")).toBe("Welcome");
  });

  test("has started nginx, which waited for the configuration and answers with it", async () => {
    await untilState(guest, "nginx.service", "active");
    expect(await guest.shell("curl -fsS http://127.0.0.1:8080/")).toContain("<p>Hello from frontend</p>");
    expect(await stateOf(guest, "vmmessage-configured.target")).toBe("active");
  });

  test("has started the application with its credential, and no other place has the secret", async () => {
    expect(await guest.readText("/var/lib/app.starts")).toBe("role=frontend geheimnis\n");
    const inEvents = JSON.stringify(await host.events("*"));
    expect(inEvents).not.toContain("geheimnis");
    const files = await guest.shell("grep -rls geheimnis /var/lib/vmmessage /run/vmmessage /etc || :");
    expect(files.split("\n").sort()).toEqual([
      "/run/vmmessage/keys/com.example.app.password",
      "/run/vmmessage/secrets/values.json",
    ]);
  });

  test("has come up whole", async () => {
    expect(await systemIsUp(guest)).toEqual({ state: "running", failedUnits: [] });
  });

  test("is reconfigured by a commit: what changed is done, and nothing else", async () => {
    const again = await host.bootstrap(await host.file("values.yaml", values(8081, "frontend")));
    expect(again).toMatchObject({ code: 0 });
    expect(await guest.shell("curl -fsS http://127.0.0.1:8081/")).toContain("<p>Hello from frontend</p>");
    expect(await guest.shell("curl -sS -o /dev/null http://127.0.0.1:8080/ || echo $?")).toBe("7");
    // Its file is what it was, so the application runs on.
    expect(await guest.readText("/var/lib/app.starts")).toBe("role=frontend geheimnis\n");
    expect(await host.untilEvent("BOOTSTRAP.SUCCEEDED", ({ data }) => data["target"] === "reconfigure")).toBeDefined();
  });

  test("has the application restarted, the name changed and a user more when those are what changed", async () => {
    const more = values(8081, "backend")
      .replace("web1.", "web2.")
      .replace(
        "  com.example.web.port",
        `    - name: bob\n      sshAuthorizedKeys: ["${sshKey}"]\n  com.example.web.port`,
      );
    expect(await host.bootstrap(await host.file("values.yaml", more))).toMatchObject({ code: 0 });
    expect(await guest.readText("/var/lib/app.starts")).toBe("role=frontend geheimnis\nrole=backend geheimnis\n");
    expect(await guest.shell("hostname; id -un bob")).toBe("web2.example.com\nbob");
    // Neither file was touched, though both were looked at.
    expect(await guest.shell("cat ~alice/.ssh/authorized_keys ~bob/.ssh/authorized_keys")).toBe(`${sshKey}\n${sshKey}`);
  });

  test("stays as it is when nginx would not take the new configuration, and says why", async () => {
    const name = "com.example.web.server-name=a.-..b";
    const before = await guest.readText("/etc/nginx/sites-enabled/vmmessage-site.conf");
    await guest.writeFile(
      "/etc/nginx/conf.d/strict.conf",
      "limit_conn_zone $binary_remote_addr zone=a:10m;\nnonsense;\n",
    );
    const refused = await host.bootstrap(await host.file("values.yaml", values(8082, "backend")), "--set", name);
    await guest.shell("rm /etc/nginx/conf.d/strict.conf");
    expect(refused.code).toBe(2);
    expect(refused.stdout + refused.stderr).toMatch(/nginx-site.*check 'nginx -t' failed/);
    expect(await guest.readText("/etc/nginx/sites-enabled/vmmessage-site.conf")).toBe(before);
    expect(await guest.shell("curl -fsS http://127.0.0.1:8081/")).toContain("Hello");
    const failed = await host.untilEvent("BOOTSTRAP.MODULE", ({ data }) => data["outcome"] === "error");
    expect(JSON.stringify(failed.data)).toContain("unknown directive");
  });

  test("is not configured again at its second boot, and serves what it was told", async () => {
    const runs = (await host.events("BOOTSTRAP.STARTED")).length;
    const stamps = "stat -c '%n %y %i' /etc/hostname /etc/app.conf /etc/motd /etc/passwd ~alice/.ssh/authorized_keys";
    const before = await guest.shell(stamps);
    await guest.reboot();
    await systemIsUp(guest);
    expect(await propertyOf(guest, "vmmessage-bootstrap.service", "Result")).toBe("success");
    expect(await guest.shell("journalctl -b --no-pager -o cat -u vmmessage-bootstrap")).toContain("configured already");
    expect(await guest.shell(stamps)).toBe(before);
    expect(await guest.shell("hostname")).toBe("web1.example.com");
    await untilState(guest, "nginx.service", "active");
    expect(await guest.shell("curl -fsS http://127.0.0.1:8081/")).toContain("Hello from backend");
    expect(await host.events("BOOTSTRAP.STARTED")).toHaveLength(runs);
  });
});

/** Modules that do what modules should not. */
const faultyModules: DebianOptions["files"] = {
  ...module(
    "a-reboots",
    10,
    'echo x >> /var/lib/reboots; sync; [ "$(wc -l < /var/lib/reboots)" = 1 ] && { echo b > /proc/sysrq-trigger; sleep 60; }; exit 0',
  ),
  ...module("b-fails", 20, "echo the database is not there >&2; exit 3"),
  ...module("c-hangs", 30, "trap '' TERM; while :; do sleep 1; done", "# timeout: 3\n"),
  ...module("d-garbles", 40, "echo this is no JSON"),
  ...module("e-floods", 50, "head -c 10000000 /dev/zero | tr '\\0' x"),
  ...module("f-works", 60, "echo done > /var/lib/works"),
  "etc/vmmessage/template.d/large.yaml": template(`name: large
configure: 70
parameters: { rounds: { key: com.example.rounds, description: How much, type: integer, default: 1 } }
files:
  - path: /var/lib/large
    content: "{% for i in (1..rounds) %}0123456789012345678901234567890123456789012345678901234567890123{% endfor %}"
`),
  "etc/vmmessage/bootstrap.json": template('{ "wait": "5s" }'),
  "etc/systemd/system/strict.service": template(`[Unit]
Requires=vmmessage-configured.target
After=vmmessage-configured.target
[Service]
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
`),
};

function module(name: string, order: number, body: string, more = ""): NonNullable<DebianOptions["files"]> {
  const header = `### BEGIN PLUGIN INFO\n# name: ${name}\n# configure: ${order}\n${more}### END PLUGIN INFO`;
  const guard = '[ "$1" = configure ] || exit 0';
  return { [`etc/vmmessage/template.d/${name}`]: script(`#!/bin/sh\n${header}\n${guard}\n${body}\n`) };
}

describe("a guest in which all goes wrong", () => {
  let host: HostWithManager;
  let guest: Guest;

  beforeAll(async () => {
    host = await HostWithManager.open();
    guest = await startDebianGuest({ uuid, files: faultyModules, units: [...allUnits, "strict.service"] });
    await host.connect(guest);
  });
  afterAll(async () => {
    const started: Partial<Record<"guest" | "host", AsyncDisposable>> = { guest, host };
    await started.guest?.[Symbol.asyncDispose]();
    await started.host?.[Symbol.asyncDispose]();
  });

  test("boots when no keys come, says so, and what needs the configuration is not started", async () => {
    const { data } = await host.untilEvent("BOOTSTRAP.FAILED");
    expect(data).toMatchObject({ reason: "no commit came within 5 s", commit: null });
    const { state, failedUnits } = await systemIsUp(guest);
    expect(state).toBe("degraded");
    expect(failedUnits).toEqual(["vmmessage-bootstrap.service"]);
    expect(await stateOf(guest, "strict.service")).toBe("inactive");
    expect(await stateOf(guest, "multi-user.target")).toBe("active");
    expect(await guest.shell("timeout 60 bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -1 <&3'")).toContain("SSH");
  });

  test("is configured by keys that come late, over a reboot in the middle, and tells of each module", async () => {
    const file = await host.file("late.yaml", "keys: { com.example.rounds: 1 }\n");
    const { code, stdout, stderr } = await host.bootstrap(file);
    expect(code).toBe(2);
    const told = stdout + stderr;
    expect(told).toMatch(/a-reboots +ok/);
    expect(told).toMatch(/b-fails +error.*exit code 3/);
    expect(told).toMatch(/c-hangs +error.*did not end within 3 s/);
    expect(told).toMatch(/d-garbles +error.*JSON/);
    expect(told).toMatch(/e-floods +error.*more than/);
    expect(told).toMatch(/f-works +ok/);
    expect(told).toMatch(/large +ok/);
    await guest.ready();
    expect(await guest.shell("cat /var/lib/reboots /var/lib/works")).toBe("x\nx\ndone");
    const { data } = await host.untilEvent("BOOTSTRAP.MODULE", ({ data: of }) => of["module"] === "b-fails");
    expect(data).toMatchObject({ outcome: "error", lines: ["the database is not there"] });
    expect(await stateOf(guest, "multi-user.target")).toBe("active");
  });

  test("is reached when the rest goes well, and what needs the configuration starts", async () => {
    await systemIsUp(guest);
    await guest.shell("cd /etc/vmmessage/template.d && rm b-fails c-hangs d-garbles e-floods");
    const { code } = await host.bootstrap(await host.file("well.yaml", "keys: { com.example.rounds: 2 }\n"));
    expect(code).toBe(0);
    await untilState(guest, "vmmessage-configured.target", "active");
    await guest.shell("systemctl start strict.service");
    expect(await stateOf(guest, "strict.service")).toBe("active");
  });

  test("tells of a disk that is full, and leaves the file as it was", async () => {
    const before = await guest.shell("sha256sum /var/lib/large");
    // What is left is enough for the agent's own files.
    const left = 700_000;
    await guest.shell(`fallocate -l $(( $(df --output=avail -B1 / | tail -1) - ${left} )) /var/lib/fill`);
    const { code, stdout, stderr } = await host.bootstrap(
      await host.file("full.yaml", "keys: { com.example.rounds: 15000 }\n"),
    );
    await guest.shell("rm /var/lib/fill");
    expect(code).toBe(2);
    expect(stdout + stderr).toMatch(/large.*ENOSPC|large.*no space/i);
    expect(await guest.shell("sha256sum /var/lib/large")).toBe(before);
    await host.untilEvent("BOOTSTRAP.FAILED", ({ data }) => data["target"] === "reconfigure");
  });
});
