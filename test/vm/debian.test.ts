// A Debian with systemd: the guest itself, and the packaged units in it. What `agent bootstrap` does is told elsewhere: here
// programs of the test stand in for it.
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

  test("had the test's files before it first booted, and only the units that the test named are enabled", async () => {
    expect(await guest.shell("stat -c '%a %U' /etc/webapp/secret")).toBe("640 root");
    expect(await guest.readFile("/etc/webapp/secret")).toEqual(Buffer.of(0, 255));
    const enabled = await guest.shell("systemctl list-unit-files --state=enabled --no-legend 'vmmessage-*'");
    expect(enabled).toMatch(/^vmmessage-agent\.service .*$/);
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
    const verified = await guest.exec(["systemd-analyze", "verify", ...units, "webapp.service"]);
    expect(verified).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });
});

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

  test("stops at once, and is not started by a port that appears", async () => {
    await guest.shell(`systemctl disable --now ${agentUnit}`);
    await guest.unplugAgentPort();
    await guest.plugAgentPort();
    await untilState(guest, portUnit, "active");
    expect(await stateOf(guest, agentUnit)).toBe("inactive");
    expect(await propertyOf(guest, agentUnit, "Result")).toBe("success");
  });

  test("fails for good on a configuration that is wrong, and says what is wrong with it", async () => {
    await guest.shell("mkdir -p /etc/vmmessage; echo '{ \"chanel\": 1 }' >/etc/vmmessage/agent.json");
    await guest.shell(`systemctl restart ${agentUnit}`);
    await untilState(guest, agentUnit, "failed");
    expect(await propertyOf(guest, agentUnit, "NRestarts")).toBe("0");
    expect(await journalOf(guest, agentUnit)).toContain("chanel");
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
    expect(await stateOf(guest, bootstrapUnit)).toBe("activating");
    expect(await stateOf(guest, "vmmessage-reconfigure.service")).toBe("inactive");
    await agentIsUp(guest);
    await using host = await Host.connect(guest.channelPath);
    expect(await host.keys()).toEqual({ role: "frontend", port: "443" });
    expect(await guest.shell("ls /etc/webapp")).toBe("");
  });
});
