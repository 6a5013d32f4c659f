// A Debian with systemd: the guest itself, and the packaged units in it, sandboxes and watchdogs included. What `agent
// bootstrap` does is told elsewhere: here programs of the test stand in for it.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startDebianGuest } from "./debian/guest.ts";
import { packagedUnits } from "./debian/root-disk.ts";
import {
  agentIsUp,
  journalOf,
  overrideService,
  propertyOf,
  stateOf,
  systemIsUp,
  type SystemState,
  untilState,
} from "./debian/systemd.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { Host } from "./support/host.ts";
import { agentSays } from "./support/programs.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000d1";
const agentUnit = "vmmessage-agent.service";
const bootstrapUnit = "vmmessage-bootstrap.service";
const portUnit = "dev-virtio\\x2dports-org.vmmessage.agent.0.device";
const credential = "com.example.db.password";
const keyFile = `/run/vmmessage/keys/${credential}`;

/** Starts only when the machine is configured, by the drop-in of packaging/systemd/examples. */
const webapp = `[Service]
Type=oneshot
RemainAfterExit=yes
User=www-data
RuntimeDirectory=webapp
ExecStart=sh -c 'cat "$CREDENTIALS_DIRECTORY/db-password" >/run/webapp/used'
`;

/** Starts when the configuration has ended, in whatever way. */
const patient = `[Unit]
Wants=vmmessage-configured.target
After=vmmessage-configured.target
[Service]
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
`;

/** For what takes an emulated machine on a busy host its time. */
const timeoutMs = 240_000;
const pollMs = 500;

let snapshot: Snapshot;
let atBoot: SystemState;
let guest: Guest;

beforeAll(async () => {
  const example = await readFile(join(packagedUnits, "examples/webapp.service.d/vmmessage.conf"));
  const booting = await startDebianGuest({
    uuid,
    waitsForBoot: false,
    files: {
      "etc/systemd/system/webapp.service": { content: webapp, mode: 0o644 },
      "etc/systemd/system/webapp.service.d/vmmessage.conf": { content: example, mode: 0o644 },
      "etc/systemd/system/patient.service": { content: patient, mode: 0o644 },
      "etc/webapp/secret": { content: Buffer.of(0, 255), mode: 0o640 },
    },
  });
  try {
    await booting.ready();
    atBoot = await systemIsUp(booting);
    await agentIsUp(booting);
    snapshot = await booting.saveSnapshot();
  } finally {
    await booting.stop();
  }
});
afterAll(() => snapshot.remove());

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

describe("a Debian guest", () => {
  test("boots with all its units, as a machine of its own", async () => {
    expect(atBoot).toEqual({ state: "running", failedUnits: [] });
    expect(await guest.readText("/sys/class/dmi/id/product_uuid")).toBe(`${uuid}\n`);
    expect(await guest.readText("/etc/machine-id")).toMatch(/^[0-9a-f]{32}\n$/);
    expect(await guest.shell("hostname; cat /etc/hostname /etc/resolv.conf")).toBe("debian\ndebian");
    expect(await guest.shell("ls /etc/ssh/*_key")).toBe("/etc/ssh/ssh_host_ed25519_key");
  });

  test("had the test's files before it first booted, and none of our units is enabled", async () => {
    expect(await guest.shell("stat -c '%a %U' /etc/webapp/secret")).toBe("640 root");
    expect(await guest.readFile("/etc/webapp/secret")).toEqual(Buffer.of(0, 255));
    expect(await guest.shell("systemctl list-unit-files --state=enabled --no-legend 'vmmessage*' || :")).toBe("");
  });

  test("has real services: nginx answers, sshd listens, and Python runs", async () => {
    expect(await guest.shell("curl --silent --show-error http://127.0.0.1/")).toContain("Welcome to nginx!");
    expect(await guest.shell("bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3'")).toMatch(/^SSH-2\.0-OpenSSH/);
    expect(await guest.shell("python3 -c 'print(6 * 7)'")).toBe("42");
  });

  test("can be restored again and again, each time as it was saved", async () => {
    await guest.shell("echo >/var/tmp/first; sync");
    await using restored = await restoreSnapshot(snapshot);
    expect(await restored.shell("ls /var/tmp")).not.toContain("first");
  });
});

describe("the packaged units", () => {
  test("are sound in systemd's eyes, and so is a unit with the example's drop-in", async () => {
    const units = (await readdir(packagedUnits)).filter((name) => /\.(service|target)$/.test(name));
    expect(units).toContain(agentUnit);
    const verified = await guest.exec(["systemd-analyze", "verify", "--man=no", ...units, "webapp.service"]);
    expect(verified).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  test("come with a run directory and a group for the manager's operators", async () => {
    expect(await guest.shell("stat -c '%a %U' /run/vmmessage; getent group vmmessage | cut -d: -f1")).toBe(
      "755 root\nvmmessage",
    );
  });
});

describe("the host's port", () => {
  test("has started the agent, and starts one that was stopped, but not one that is masked", async () => {
    await guest.shell(`systemctl stop ${agentUnit}`);
    await replugPort();
    await untilState(guest, agentUnit, "active");
    await guest.shell(`systemctl mask --now ${agentUnit}`);
    await replugPort();
    expect(await stateOf(guest, agentUnit)).toBe("inactive");
    expect(await propertyOf(guest, agentUnit, "Result")).toBe("success");
  });
});

/** So that a test can wait for it, and still more than an emulated machine takes to be asked. */
async function shortenWatchdog(unit: string): Promise<void> {
  const directory = `/run/systemd/system/${unit}.d`;
  await guest.shell(`mkdir -p ${directory}; printf '[Service]\\nWatchdogSec=30s\\n' >${directory}/watchdog.conf`);
  await guest.shell(`systemctl daemon-reload; systemctl restart ${unit}`, { timeoutMs, pollMs });
}

async function untilNextPing(unit: string): Promise<void> {
  const last = await propertyOf(guest, unit, "WatchdogTimestampMonotonic");
  const isNewer = async () => (await propertyOf(guest, unit, "WatchdogTimestampMonotonic")) !== last;
  await waitFor(`a ping of ${unit}`, isNewer, { timeoutMs, intervalMs: pollMs });
}

async function untilRestarted(unit: string): Promise<void> {
  const isRestarted = async () => (await propertyOf(guest, unit, "NRestarts")) === "1";
  await waitFor(`a restart of ${unit}`, isRestarted, { timeoutMs, intervalMs: pollMs });
  await untilState(guest, unit, "active");
}

async function replugPort(): Promise<void> {
  await guest.unplugAgentPort();
  await untilState(guest, portUnit, "inactive");
  await guest.plugAgentPort();
  await untilState(guest, portUnit, "active");
}

describe("the agent's unit", () => {
  test("brings a host's key to the guest's programs and files", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.set("com.example.role", "frontend");
    expect(await agentSays(guest, ["-g", "com.example.role"])).toBe("frontend");
    expect(await guest.readText("/run/vmmessage/keys/com.example.role")).toBe("frontend");
  });

  test("runs on while its port is gone, and serves it when it is back", async () => {
    const pid = await propertyOf(guest, agentUnit, "MainPID");
    expect(await stateOf(guest, portUnit)).toBe("active");
    await guest.unplugAgentPort();
    await untilState(guest, portUnit, "inactive");
    await agentSays(guest, ["-p", "meanwhile=set"]);
    await guest.plugAgentPort();
    await untilState(guest, portUnit, "active");
    await using host = await Host.connect(guest.channelPath);
    expect(await host.keys()).toEqual({ meanwhile: "set" });
    expect(await propertyOf(guest, agentUnit, "MainPID")).toBe(pid);
  });

  test("keeps keys and secrets when it is restarted, by hand or after a crash", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.set("kept", "yes");
    await host.setSecret("password", "hush");
    await guest.shell(`systemctl restart ${agentUnit}`);
    expect(await host.keys()).toMatchObject({ kept: "yes" });
    expect(await host.get("password")).toMatchObject({ value: "hush", secret: true });
    await guest.shell(`systemctl kill --signal=KILL ${agentUnit}`);
    expect(await host.get("password")).toMatchObject({ value: "hush" });
    expect(await propertyOf(guest, agentUnit, "NRestarts")).toBe("1");
  });

  test("is started when programs can use it, and says what it is at", async () => {
    expect(await guest.shell(`systemctl stop ${agentUnit}; systemctl start ${agentUnit}; agent -l && echo yes`)).toBe(
      "yes",
    );
    expect(await propertyOf(guest, agentUnit, "StatusText")).toBe("0 keys, no host attached");
  });

  test("is left alone while it works, and restarted when it hangs", async () => {
    await shortenWatchdog(agentUnit);
    const pid = await propertyOf(guest, agentUnit, "MainPID");
    for (let pings = 0; pings < 3; pings += 1) await untilNextPing(agentUnit);
    expect(await propertyOf(guest, agentUnit, "MainPID")).toBe(pid);
    await guest.shell(`kill -STOP ${pid}`);
    await untilRestarted(agentUnit);
    expect(await journalOf(guest, agentUnit)).toContain("Failed with result 'watchdog'");
    expect(await agentSays(guest, ["-p", "after=hanging"], { timeoutMs })).toBe("");
  });

  test("fails for good on a configuration that is wrong, and says what is wrong with it", async () => {
    await guest.shell("mkdir -p /etc/vmmessage; echo '{ \"chanel\": 1 }' >/etc/vmmessage/agent.json");
    const restarted = await guest.exec(["systemctl", "restart", agentUnit]);
    expect(restarted.exitCode).not.toBe(0);
    await untilState(guest, agentUnit, "failed");
    expect(await propertyOf(guest, agentUnit, "NRestarts")).toBe("0");
    expect(await journalOf(guest, agentUnit)).toContain("chanel");
  });
});

describe("the agent's sandbox", () => {
  /** Commands of checks, each named for what it tries, and the last line that they print. */
  const tries: Record<string, [command: string, said: string]> = {
    "become-another-user": ["runuser -u www-data -- id -un", "www-data"],
    "see-whose-sockets-are-open": ["ss -tlpH 'sport = 80' | grep -o nginx | head -n 1", "nginx"],
    "ask-over-the-network": [
      "curl -fsS http://localhost/ | grep -o 'Welcome to nginx' | head -n 1",
      "Welcome to nginx",
    ],
    "ask-systemd": ["systemctl is-active nginx", "active"],
    "write-below-run-var-and-tmp": ["touch {/run,/var/lib,/tmp}/example && ls /tmp/example", "/tmp/example"],
    "read-homes": ["stat -c %U /root/.", "root"],
    "not-write-to-the-system": ["touch /etc/example", "touch: cannot touch '/etc/example': Read-only file system"],
    "not-set-the-clock": ["date -s 2020-01-01 2>&1 | head -n 1", "date: cannot set date: Operation not permitted"],
    "not-mount": ["mount -t tmpfs none /mnt 2>&1 | head -n 1", "mount: /mnt: permission denied."],
  };

  test("lets checks look and ask, and does not let them administer the machine", async () => {
    for (const [name, [command]] of Object.entries(tries)) {
      const check = ["--every", "1h", "--timeout", "2m", "--", "bash", "-c", `${command}; exit 9`];
      await agentSays(guest, ["check", "add", name, ...check], { timeoutMs });
    }
    const expected = Object.fromEntries(Object.entries(tries).map(([name, [, said]]) => [name, said]));
    const said = await waitFor("the end of all checks", checksSay(Object.keys(tries).length), {
      timeoutMs,
      intervalMs: pollMs,
    });
    expect(said).toEqual(expected);
  });

  function checksSay(count: number): () => Promise<Record<string, string> | undefined> {
    return async () => {
      const list = await agentSays(guest, ["check", "list"], { timeoutMs });
      const said = [...list.matchAll(/^(\S+) .* exit code 9: (.*)$/gm)].map(([, name = "", line = ""]) => [name, line]);
      return said.length === count ? (Object.fromEntries(said) as Record<string, string>) : undefined;
    };
  }

  test("hides neither the machine's disks nor a new name of it from the host, and has sockets for others", async () => {
    const config = {
      sockets: [{ path: "/run/example/app.sock", mode: "0660", group: "www-data", prefixes: ["example."] }],
    };
    await guest.shell("mkdir -p /etc/vmmessage");
    await guest.writeFile("/etc/vmmessage/agent.json", JSON.stringify(config));
    await guest.shell(`systemctl restart ${agentUnit} && hostname renamed`);
    expect(await guest.shell("stat -c '%a %U %G' /run/example /run/example/app.sock")).toBe(
      "755 root root\n660 root www-data",
    );
    await using host = await Host.connect(guest.channelPath);
    expect(await host.client.read("info", {})).toMatchObject({ hostname: "renamed" });
    const { disks } = await host.client.read("stats", {});
    expect(disks.map(({ path }) => path)).toEqual(["/", "/usr/lib/vmmessage"]);
  });
});

describe("the manager's unit", () => {
  const managerUnit = "vmmessaged.service";
  const socket = "/run/operators/manager.sock";
  const config = {
    inventory: { files: ["/etc/vmmessage/vms.json"] },
    sockets: [{ path: socket, mode: "0660", group: "vmmessage", role: "write" }],
    images: {
      directories: ["/srv/images"],
      disks: { web1: [{ name: "vda", path: "/srv/web1.raw", format: "raw" }] },
    },
    events: {
      mail: { host: "127.0.0.1", from: "manager@example.com" },
      commands: { tell: { run: ["/bin/sh", "-c", "cat >/run/told"] } },
      sinks: [{ name: "tell", type: "command", command: "tell", filter: { types: ["MESSAGE.DELIVERED"] } }],
    },
  };
  const vms = { vms: [{ name: "web1", uuid: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11", socket: "/run/vms/web1.sock" }] };
  /** Of qemu-img: what is needed, and the whole disk. */
  const qemuImg = `#!/bin/sh
case $1 in
  measure) echo '{"required": 1024}' ;;
  convert) for target; do :; done; cat /srv/web1.raw >"$target" ;;
esac
`;

  /** Another user's program has the VM's socket, as QEMU does. */
  const startVm = [
    "systemd-run --quiet --unit=web1 --uid=www-data --property=RuntimeDirectory=vms --property=RuntimeDirectoryMode=0700",
    "--property=StateDirectory=vms agent run --channel=unix:/run/vms/web1.sock --run-dir=/run/vms/agent",
    "--state-dir=/var/lib/vms --pid-file=/run/vms/pid --debug 1",
  ].join(" ");

  beforeEach(async () => {
    await guest.shell(`mkdir -p /etc/vmmessage /srv/images; echo disk >/srv/web1.raw; systemctl stop ${agentUnit}`);
    await guest.writeFile("/etc/vmmessage/manager.json", JSON.stringify(config));
    await guest.writeFile("/etc/vmmessage/vms.json", JSON.stringify(vms));
    await guest.writeFile("/usr/local/bin/qemu-img", qemuImg);
    await guest.shell(`chmod +x /usr/local/bin/qemu-img; ${startVm}`);
    await guest.shell(`systemctl start ${managerUnit}`, { timeoutMs, pollMs });
  });

  async function hostSays(args: string): Promise<string> {
    return guest.shell(`vmmessage ${args} 2>&1 || :`, { timeoutMs, pollMs });
  }

  test("is started when it serves, and delivers, tells programs, and reads its configuration again", async () => {
    expect(await guest.shell(`stat -c '%a %G' /run/operators ${socket}`)).toBe("755 root\n660 vmmessage");
    expect(await hostSays("-v web1 -k com.example.role -V frontend")).toContain("Message sent successfully.");
    await waitFor("the program", async () => (await guest.exec(["test", "-s", "/run/told"])).exitCode === 0);
    expect(await propertyOf(guest, managerUnit, "StatusText")).toMatch(/^1 VMs, [01] links up$/);
    await guest.shell(`systemctl reload ${managerUnit}`, { timeoutMs });
    await waitFor("the reload", async () => (await journalOf(guest, managerUnit)).includes('"reloaded"'));
    expect(await stateOf(guest, managerUnit)).toBe("active");
  });

  test("saves images where a drop-in lets it, and says so elsewhere", async () => {
    await guest.shell("systemctl stop web1");
    const save = "save -v web1 --to /srv/images --author-email alice@example.com --wait";
    expect(await hostSays(save)).toContain("/srv/images is read-only for the manager");
    const example = await readFile(join(packagedUnits, "examples/vmmessaged.service.d/images.conf"));
    await guest.shell(`mkdir -p /etc/systemd/system/${managerUnit}.d`);
    await guest.writeFile(`/etc/systemd/system/${managerUnit}.d/images.conf`, example);
    await guest.shell(`systemctl daemon-reload; systemctl restart ${managerUnit}`, { timeoutMs, pollMs });
    await hostSays(save);
    expect(await guest.shell("cat /srv/images/web1-*.qcow2")).toBe("disk");
  });

  test("is restarted when it hangs", async () => {
    await shortenWatchdog(managerUnit);
    await untilNextPing(managerUnit);
    await guest.shell(`kill -STOP ${await propertyOf(guest, managerUnit, "MainPID")}`);
    await untilRestarted(managerUnit);
    expect(await hostSays("vms --quiet")).toBe("web1");
  });
});

describe("an application ordered after the configuration", () => {
  test("starts when that went well, with a host's key as its credential", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.setSecret(credential, "correct horse");
    expect(await guest.shell(`stat -c '%a %U' ${keyFile}`)).toBe("400 root");
    await overrideService(guest, bootstrapUnit, ["ExecStart=true"]);
    await guest.shell("systemctl start webapp.service");
    expect(await guest.shell("stat -c %U /run/webapp/used; cat /run/webapp/used")).toBe("www-data\ncorrect horse");
    expect(await stateOf(guest, "vmmessage-configured.target")).toBe("active");
  });

  test("waits for it, and does not start when it fails, unless it wants to anyway", async () => {
    await overrideService(guest, bootstrapUnit, ["ExecStart=sleep infinity"]);
    await guest.shell(`systemctl start --no-block ${bootstrapUnit} webapp.service patient.service`);
    await untilState(guest, bootstrapUnit, "activating");
    const waiting = await guest.shell("systemctl list-jobs --plain --no-legend");
    for (const unit of ["webapp", "patient"]) expect(waiting).toMatch(new RegExp(`${unit}.service +start +waiting`));
    await guest.shell(`systemctl kill --signal=KILL ${bootstrapUnit}`);
    await untilState(guest, "patient.service", "active");
    expect(await stateOf(guest, "webapp.service")).toBe("inactive");
    expect(await stateOf(guest, "vmmessage-configured.target")).toBe("inactive");
    expect(await systemIsUp(guest)).toEqual({ state: "degraded", failedUnits: [bootstrapUnit] });
  });
});

describe("a configuration that does not end", () => {
  test("is ended by a stop, with the process groups it has begun", async () => {
    await overrideService(guest, bootstrapUnit, ["ExecStart=sh -c 'setsid sleep 1000 & sleep 2000'"]);
    await guest.shell(`systemctl start --no-block ${bootstrapUnit}`);
    const sleeping = () => guest.shell("pgrep --exact --full 'sleep [12]000' | wc --lines");
    await waitFor("both programs", async () => (await sleeping()) === "2");
    await guest.shell(`systemctl stop ${bootstrapUnit}`);
    expect(await sleeping()).toBe("0");
  });

  test("holds up neither the boot nor a login, and after a reboot all keys are there", async () => {
    await using before = await Host.connect(guest.channelPath);
    await before.setAll({ role: "frontend", port: "443" });
    await before.client.close();
    await overrideService(guest, bootstrapUnit, ["ExecStart=sleep infinity"]);
    await guest.shell(`systemctl enable ${bootstrapUnit} vmmessage-reconfigure.service`);
    await guest.shell("rm /etc/webapp/secret; sync"); // one of the files from before the first boot, of which this is none
    await guest.reboot();

    for (const unit of ["multi-user.target", "getty.target", "ssh.service"]) await untilState(guest, unit, "active");
    await untilState(guest, bootstrapUnit, "activating");
    expect(await stateOf(guest, "vmmessage-reconfigure.service")).toBe("inactive");
    await agentIsUp(guest);
    await using host = await Host.connect(guest.channelPath);
    expect(await host.keys()).toEqual({ role: "frontend", port: "443" });
    expect(await guest.shell("ls /etc/webapp")).toBe("");
  });
});
