/** `vmmessage attach` with a real libvirtd, whose QEMUs have nothing to boot. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { CHANNEL_XML, LibvirtUnderTest } from "../support/libvirt.ts";
import { type Outcome, temporaryDirectory, until, vmmessage } from "./programs.ts";

const VMMESSAGE = fileURLToPath(new URL("../../../dist/vmmessage.js", import.meta.url));

const PORT = "name='org.vmmessage.agent.0'";
const CONTROLLER = "<controller type='virtio-serial' index='0'/>";

let libvirt: LibvirtUnderTest;

beforeAll(async () => {
  libvirt = await LibvirtUnderTest.start();
});

// A QEMU that looks for something to boot takes a processor of its own.
afterEach(async () => {
  const running = (await libvirt.virsh("list", "--name")).split("\n").filter((name) => name !== "");
  for (const name of running) await libvirt.virsh("destroy", `--domain=${name}`);
});

afterAll(async () => {
  await libvirt[Symbol.asyncDispose]();
});

function attach(vm: string, ...args: string[]): Promise<Outcome> {
  return vmmessage(["attach", "--connect", libvirt.uri, "-v", vm, ...args]);
}

function definitionOf(vm: string): Promise<string> {
  return libvirt.virsh("dumpxml", "--inactive", `--domain=${vm}`);
}

function runningXmlOf(vm: string): Promise<string> {
  return libvirt.virsh("dumpxml", `--domain=${vm}`);
}

async function start(vm: string): Promise<void> {
  await libvirt.virsh("start", `--domain=${vm}`);
}

async function stopAndStart(vm: string): Promise<void> {
  await libvirt.virsh("destroy", `--domain=${vm}`);
  await start(vm);
}

/** What the diff in `printed` adds, without the marks. */
function addedLines(printed: string): string[] {
  return printed.split("\n").flatMap((line) => (/^\+(?!\+\+ )/.test(line) ? [line.slice(1)] : []));
}

/** The socket of the VM's channel, as vmmessage finds it by itself. */
async function foundSocket(vm: string): Promise<string> {
  const { stdout } = await vmmessage(["doctor", "-v", vm, "--connect", libvirt.uri, "--timeout", "1"]);
  const [, path = stdout] = /^ok {4}VM: .*: Running, channel (.+)$/m.exec(stdout) ?? [];
  return path;
}

/** Rejects when nothing listens there. */
async function connectOnce(path: string): Promise<void> {
  const socket = connect(path);
  await once(socket, "connect");
  socket.destroy();
}

describe("a VM that is shut off", () => {
  it("gets its channel, which the diff shows, and starts with it", async () => {
    await libvirt.define("off", { devices: "" });
    const before = (await definitionOf("off")).split("\n");
    const outcome = await attach("off");
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^--- Original XML\n\+\+\+ Altered XML\n@@ /);
    expect(outcome.stdout).toMatch(
      /The definition of 'off' has the channel org\.vmmessage\.agent\.0 now\.\nThe VM has it from its next start on\.\n$/,
    );
    const added = addedLines(outcome.stdout);
    expect(added).toContain(`      <target type='virtio' ${PORT}/>`);
    expect(outcome.stdout).not.toMatch(/^-(?!--)/m);
    const after = (await definitionOf("off")).split("\n");
    expect(after.filter((line) => !added.includes(line))).toEqual(before.filter((line) => !added.includes(line)));
    expect(after).toHaveLength(before.length + added.length);

    await start("off");
    const socket = await foundSocket("off");
    expect(socket).toMatch(/\/domain-\d+-off\/org\.vmmessage\.agent\.0$/);
    await connectOnce(socket);
  });

  it("that has it stays as it is", async () => {
    await libvirt.define("has", {});
    const before = await definitionOf("has");
    const outcome = await attach("has");
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toBe(
      "The definition of 'has' has the channel org.vmmessage.agent.0 already.\nThe VM has it from its next start on.\n",
    );
    expect(await definitionOf("has")).toBe(before);
  });

  it("keeps what else is in its definition, the password that libvirt does not print too", async () => {
    const kept = `<ours:app xmlns:ours="https://example.com/ours"><!-- why --><ours:x a="&lt;">  </ours:x><![CDATA[
  </devices>
]]></ours:app>`;
    const metadata = `<title>ünï &lt;/devices&gt;</title><metadata>${kept}</metadata>`;
    const namespaced =
      "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-name'/><qemu:arg value='x'/></qemu:commandline>";
    await libvirt.define("kept", {
      devices: "<graphics type='vnc' port='-1' passwd='hunter2'/>",
      more: metadata + namespaced,
    });
    const whole = () => libvirt.virsh("dumpxml", "--inactive", "--security-info", "kept");
    const before = (await whole()).split("\n");
    const { code, stdout } = await attach("kept");
    expect(code).toBe(0);
    expect(stdout).not.toContain("hunter2");
    const after = await whole();
    expect(after).toContain("passwd='hunter2'");
    expect(after).toContain(kept);
    expect(after).toContain("<qemu:arg value='-name'/>");
    const added = new Set(addedLines(stdout));
    expect(after.split("\n").filter((line) => !added.has(line))).toEqual(before.filter((line) => !added.has(line)));
  });

  it("with a saved state is told to stop once more, as that is without the channel", async () => {
    await libvirt.define("saved", { devices: "" });
    await start("saved");
    await libvirt.virsh("managedsave", "saved");
    const { code, stdout } = await attach("saved");
    expect(code).toBe(0);
    expect(stdout).toContain("The saved state of the VM is without it: after the next start it takes a full stop");
    await start("saved");
    expect(await runningXmlOf("saved")).not.toContain(PORT);
    await stopAndStart("saved");
    expect(await attach("saved", "--quiet")).toMatchObject({ code: 0, stdout: "now\n" });
  });

  it("gets one channel when two ask for it at once", async () => {
    await libvirt.define("both", { devices: "" });
    const outcomes = await Promise.all([attach("both"), attach("both"), attach("both")]);
    expect(outcomes.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect((await definitionOf("both")).split(PORT)).toHaveLength(2);
  });

  it.each(["--all", "a b", `it's "q"`, "$(reboot); ünï", "--domain=off"])("is found by the name %j", async (name) => {
    const uuid = await libvirt.define(name, { devices: "" });
    const outcome = await attach(name);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toContain(`The definition of '${name}' has the channel`);
    expect(await definitionOf(uuid)).toContain(PORT);
    expect(await attach(uuid)).toMatchObject({ code: 0 });
  });
});

describe("nothing is changed", () => {
  it("by --print-diff and --print-xml, which show what libvirt would be given", async () => {
    await libvirt.define("shown", { devices: CONTROLLER });
    const before = await definitionOf("shown");
    const diff = await attach("shown", "--print-diff");
    expect(diff).toMatchObject({ code: 0, stderr: "" });
    expect(diff.stdout).toMatch(
      /\nThe definition of 'shown' would get the channel org\.vmmessage\.agent\.0\.\n.*\nNothing was changed\.\n$/,
    );
    const planned = await attach("shown", "--print-xml");
    expect(await definitionOf("shown")).toBe(before);

    const { stdout } = await attach("shown", "--print-diff", "--define");
    const after = await definitionOf("shown");
    const withoutAddress = after.replace(/\n *<address type='virtio-serial'.*/, "");
    expect(planned).toMatchObject({ code: 0, stdout: `${withoutAddress}\n`, stderr: "" });
    expect(addedLines(diff.stdout)).toEqual(addedLines(stdout).filter((line) => !line.includes("<address")));
  });

  it("without an answer to --confirm, and with one that is not yes", async () => {
    await libvirt.define("asked", { devices: "" });
    expect(await attach("asked", "--confirm")).toMatchObject({ code: 3 });
    const refused = await atTerminal("asked", "n\r");
    expect(refused.code).toBe(2);
    expect(refused.printed).toContain("would get the channel");
    expect(refused.printed).toContain("not confirmed; nothing was changed");
    expect(await definitionOf("asked")).not.toContain(PORT);
    const confirmed = await atTerminal("asked", "yes\r");
    expect(confirmed.code).toBe(0);
    expect(confirmed.printed).toContain("has the channel org.vmmessage.agent.0 now.");
    expect(await definitionOf("asked")).toContain(PORT);
  });

  /** `attach --confirm` at a terminal; the answer is typed when it is asked for. */
  async function atTerminal(vm: string, answer: string): Promise<{ code: number | null; printed: string }> {
    const words = [process.execPath, VMMESSAGE, "attach", "-v", vm, "--confirm", "-c", `'${libvirt.uri}'`];
    const script = spawn("script", ["-qefc", words.join(" "), "/dev/null"], { env: { ...process.env, TERM: "dumb" } });
    onTestFinished(() => void script.kill("SIGKILL"));
    let printed = "";
    script.stdout.on("data", (piece: Buffer) => (printed += piece.toString()));
    const ended = once(script, "close");
    await until(() => printed.includes("(y/n)"));
    script.stdin.write(answer);
    const [code] = (await ended) as [number | null];
    return { code, printed };
  }
});

describe("a VM that runs", () => {
  it("is without it until it is stopped and started, which is said each time; a reset is not enough", async () => {
    await libvirt.define("runs", { devices: "" });
    await start("runs");
    const first = await attach("runs");
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toContain("The running VM is without it until a full stop and start");
    await libvirt.virsh("reset", "runs");
    expect(await runningXmlOf("runs")).not.toContain(PORT);
    const second = await attach("runs");
    expect(second).toMatchObject({ code: 0, stderr: "" });
    expect(second.stdout).toMatch(/ already\.\nThe running VM is without it until a full stop and start/);
    await stopAndStart("runs");
    expect((await attach("runs")).stdout).toMatch(/ already\.\nThe running VM has it\.\n$/);
  });

  it("gets it at once with --update, where it has a virtio-serial controller", async () => {
    await libvirt.define("plugged", { devices: CONTROLLER });
    await start("plugged");
    const outcome = await attach("plugged", "--update");
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toMatch(
      / has the channel org\.vmmessage\.agent\.0 now\.\nIt was plugged into the running VM\.\nThe running VM has it\.\n$/,
    );
    await connectOnce(await foundSocket("plugged"));
    await stopAndStart("plugged");
    await connectOnce(await foundSocket("plugged"));
  });

  it("beside qemu-ga's channel gets it at once too, also when only the definition had it", async () => {
    const guestAgent = CHANNEL_XML.replace("org.vmmessage.agent.0", "org.qemu.guest_agent.0");
    await libvirt.define("guest-agent", { devices: guestAgent });
    await start("guest-agent");
    expect(await attach("guest-agent", "--quiet")).toMatchObject({ code: 0, stdout: "full-stop\n" });
    expect(await attach("guest-agent", "--update", "--quiet")).toMatchObject({ code: 0, stdout: "now\n" });
    await connectOnce(await foundSocket("guest-agent"));
    expect(await attach("guest-agent", "--update", "--json")).toMatchObject({ code: 0 });
  });

  it("without such a controller cannot have it plugged in, and gets it by a full stop", async () => {
    const uuid = await libvirt.define("bare", { devices: "" });
    await start("bare");
    const outcome = await attach("bare", "--update", "--json");
    expect(outcome.code).toBe(2);
    const { error } = JSON.parse(outcome.stdout) as { error: { message: string } };
    expect(error).toMatchObject({ code: "failed", vm: "bare", uuid });
    expect(error.message).toMatch(/^'bare' runs without a virtio-serial controller.*nothing was changed$/);
    expect(await definitionOf("bare")).not.toContain(PORT);
    const defined = await attach("bare", "--json");
    expect(JSON.parse(defined.stdout)).toMatchObject({ defined: true, plugged: false, effect: "full-stop" });
    await stopAndStart("bare");
    await connectOnce(await foundSocket("bare"));
  });

  it("and is transient has nothing but itself to change", async () => {
    const file = join(libvirt.directory, "transient.xml");
    const devices = `<devices>${CONTROLLER}<memballoon model='none'/></devices>`;
    const os = "<os><type arch='x86_64' machine='pc'>hvm</type></os>";
    await writeFile(
      file,
      `<domain type='qemu'><name>fleeting</name><memory unit='MiB'>32</memory>${os}${devices}</domain>`,
    );
    await libvirt.virsh("create", `--file=${file}`);
    const refused = await attach("fleeting");
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain("'fleeting' is transient: libvirt keeps no definition of it; plug the channel");
    const outcome = await attach("fleeting", "--update");
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(addedLines(outcome.stdout)).toContain(`      <target type='virtio' ${PORT}/>`);
    expect(outcome.stdout).toContain("'fleeting' is transient: whatever creates it again");
    await connectOnce(await foundSocket("fleeting"));
    expect(await attach("fleeting")).toMatchObject({ code: 0 });
  });
});

describe("it fails", () => {
  it("for a VM that is not known, and for the id of another", async () => {
    expect(await attach("nobody")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("libvirt: failed to get domain 'nobody'") as string,
    });
    await libvirt.define("numbered", { devices: "" });
    await start("numbered");
    const id = await libvirt.virsh("domid", "numbered");
    expect(await attach(id)).toMatchObject({
      code: 2,
      stderr: `vmmessage: libvirt took '${id}' for the VM 'numbered'; name it by its UUID\n`,
    });
    expect(await definitionOf("numbered")).not.toContain(PORT);
  });

  it("for a channel of the name that is no socket, which stays", async () => {
    await libvirt.define("pty", { devices: CHANNEL_XML.replace("'unix'", "'pty'") });
    const before = await definitionOf("pty");
    const outcome = await attach("pty");
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain("of 'pty' has the type 'pty'; make it <channel type='unix'>");
    expect(await definitionOf("pty")).toBe(before);
  });

  it("without libvirt", async () => {
    const outcome = await vmmessage(["attach", "-v", "off", "-c", "qemu:///session?socket=/nowhere/libvirt-sock"]);
    expect(outcome).toMatchObject({ code: 10, stdout: "" });
    expect(outcome.stderr).toContain("Failed to connect socket to '/nowhere/libvirt-sock'");
  });

  it("without virsh", async () => {
    const outcome = await vmmessage(["attach", "-v", "off"], { env: { PATH: await temporaryDirectory() } });
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toContain("virsh is not installed; install libvirt's clients (Debian: libvirt-clients)");
  });

  it.each([
    ["operation forbidden: read only access prevents virDomainAttachDeviceFlags", 6],
    ["access denied: 'QEMU' denied access", 6],
    ["this function is not supported by the connection driver: virDomainAttachDeviceFlags", 2],
    ["internal error: client socket is closed", 10],
  ])("when libvirt says '%s' to the change", async (said, code) => {
    await libvirt.define("refused", { devices: "" }).catch(() => undefined);
    const outcome = await attachWithout("--config", said, "refused");
    expect(outcome).toMatchObject({ code, stdout: "", stderr: `vmmessage: libvirt: ${said}\n` });
  });

  it("when it cannot be plugged in after all, and says that it is defined", async () => {
    const uuid = await libvirt.define("full", { devices: CONTROLLER });
    await start("full");
    const said = "operation failed: Unable to find a free virtio-serial port";
    const outcome = await attachWithout("--live", said, "full", "--update", "--json");
    expect(outcome.code).toBe(2);
    expect(JSON.parse(outcome.stdout)).toEqual({
      error: {
        ...{ code: "failed", vm: "full", uuid, defined: true, plugged: false, effect: "full-stop" },
        message:
          `the channel was not plugged into the running VM 'full': libvirt: ${said}; ` +
          "its definition has the channel now, which takes effect after a full stop and start",
      },
    });
    expect(await definitionOf("full")).toContain(PORT);
  });

  /** As attach(), with a libvirt that refuses to attach a device so. */
  async function attachWithout(option: string, said: string, vm: string, ...args: string[]): Promise<Outcome> {
    const directory = await temporaryDirectory();
    const { PATH = "" } = process.env;
    const refusing = `case "$*" in *attach-device*${option}*) echo "error: ${said}" >&2; exit 1;; esac`;
    await writeFile(join(directory, "virsh"), `#!/bin/sh\n${refusing}\nPATH=${PATH} exec virsh "$@"\n`);
    await chmod(join(directory, "virsh"), 0o755);
    const env = { PATH: [directory, PATH].join(delimiter) };
    return vmmessage(["attach", "-c", libvirt.uri, "-v", vm, ...args], { env });
  }
});

it("prints the channel's XML without a VM, and asks no libvirt", async () => {
  const { code, stdout } = await vmmessage(["attach", "--print-xml"], { env: { PATH: await temporaryDirectory() } });
  expect(code).toBe(0);
  expect(stdout.replace(/\n */g, "")).toBe(CHANNEL_XML);
});

it("the transcript in the guide is what happens", async () => {
  const guide = readFileSync("docs/vmmessage.md", "utf8");
  const [, transcript = ""] = /^host# vmmessage attach -v web1\n([^]*?)^```$/m.exec(guide) ?? [];
  await libvirt.define("web1", { devices: "" });
  await start("web1");
  expect((await attach("web1")).stdout).toBe(transcript);
});
