import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { RealAgent, temporaryDirectory, vmmessage } from "./programs.ts";
import { deaf, scriptedGuest } from "./scripted-guest.ts";

let directory: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

function ping(...args: string[]) {
  return vmmessage(["ping", "--timeout", "1", ...args]);
}

describe("a directory of sockets", () => {
  it.each(["web1.sock", "web1", "web1/org.vmmessage.agent.0"])("finds web1 as %s", async (name) => {
    await mkdir(join(directory, "web1"), { recursive: true }).then(() => undefined);
    const sockets = join(directory, "sockets");
    await mkdir(name.includes("/") ? join(sockets, "web1") : sockets, { recursive: true });
    const agent = new RealAgent(directory, join(sockets, name));
    await agent.start();
    expect(await ping("-v", "web1", "--socket-dir", sockets)).toMatchObject({ code: 0 });
  });

  it("says where it looked", async () => {
    const outcome = await ping("-v", "web1", "--socket-dir", directory);
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toContain(
      `there is no socket for 'web1' in ${directory} (looked for web1.sock, web1, web1/org.vmmessage.agent.0)`,
    );
  });

  it.each(["../web1", "a/b", "..", "."])("is not left for a VM named '%s'", async (name) => {
    expect(await ping("-v", name, "--socket-dir", directory)).toMatchObject({ code: 3 });
  });
});

it("a socket's own name stands for the VM's", async () => {
  await scriptedGuest(join(directory, "db7.sock"), { connected: deaf });
  expect((await ping("--socket", join(directory, "db7.sock"))).stderr).toContain("no agent in 'db7' answered");
});

describe("libvirt", () => {
  const CHANNEL =
    "<channel type='unix'><source path='SOCKET'/><target type='virtio' name='org.vmmessage.agent.0' STATE/></channel>";

  interface Libvirt {
    state?: string;
    devices?: string;
    name?: string;
    /** What virsh says in place of an answer. */
    error?: string;
  }

  /** A `virsh` that knows one VM and writes down how it was called. */
  async function libvirt({ state = "running", devices = CHANNEL, name = "web1", error }: Libvirt): Promise<void> {
    const channel = devices.replace("SOCKET", join(directory, "web1.sock")).replace("STATE", "state='disconnected'");
    const xml = `<domain type='kvm' id='3'><name>${name}</name><uuid>a-b-c</uuid><devices>${channel}</devices></domain>`;
    await writeFile(join(directory, "domain.xml"), xml);
    const lines = [
      "#!/bin/sh",
      `echo "$LC_ALL $*" >> ${directory}/calls`,
      error === undefined ? "" : `echo "error: failed to get domain" >&2; echo "error: ${error}" >&2; exit 1`,
      `case "$*" in *domstate*) echo "${state}"; echo;; *dumpxml*) cat ${directory}/domain.xml;; esac`,
    ];
    await writeFile(join(directory, "virsh"), lines.join("\n"));
    await chmod(join(directory, "virsh"), 0o755);
  }

  function inLibvirt(...args: string[]) {
    return vmmessage([...args, "--timeout", "1"], {
      env: { PATH: `${directory}${delimiter}${process.env["PATH"] ?? ""}` },
    });
  }

  it("knows the VM's socket, and is asked in its own English", async () => {
    await libvirt({});
    await new RealAgent(directory, join(directory, "web1.sock")).start();
    const outcome = await inLibvirt("-v", "web1", "--connect", "qemu:///session", "-k", "a", "-V", "1");
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stdout).toContain("VM : 'web1' has status :  Running.\nSending message.\n");
    const calls = await readFile(join(directory, "calls"), "utf8");
    expect(calls.split("\n").sort()).toEqual([
      "",
      "C --connect=qemu:///session domstate --domain=web1",
      "C --connect=qemu:///session dumpxml --domain=web1",
    ]);
  });

  it("a name that looks like an option is none", async () => {
    await libvirt({ name: "--all" });
    await inLibvirt("-v", "--all", "-q", "a");
    expect(await readFile(join(directory, "calls"), "utf8")).toContain("dumpxml --domain=--all");
  });

  it.each([
    ["shut off", "Stopped"],
    ["paused", "Paused"],
    ["crashed", "Crashed"],
    ["pmsuspended", "Suspended"],
    ["no state", "Unknown"],
  ])("a VM that is '%s' has the status %s and is unreachable", async (state, status) => {
    await libvirt({ state });
    const outcome = await inLibvirt("-v", "web1", "-q", "a");
    expect(outcome).toMatchObject({ code: 10, stderr: "vmmessage: the VM 'web1' is not running\n" });
    expect(outcome.stdout).toMatch(new RegExp(`VM : 'web1' has status :  ${status}\\.\n$`));
  });

  it.each<[string, Libvirt, number, string]>([
    ["no channel of ours", { devices: "" }, 2, "add <channel type='unix'><target type='virtio'"],
    ["a channel that is no socket", { devices: CHANNEL.replace("'unix'", "'pty'") }, 2, "has the type 'pty'"],
    ["another VM by that id", { name: "web2" }, 2, "libvirt took 'web1' for the VM 'web2'"],
    ["no such VM", { error: "Domain not found: no domain with matching name 'web1'" }, 2, "Domain not found"],
    ["no rights", { error: "Failed to connect socket: Permission denied" }, 6, "Permission denied"],
    ["no daemon", { error: "Failed to connect socket: No such file or directory" }, 10, "Failed to connect"],
  ])("%s", async (_, known, code, sentence) => {
    await libvirt(known);
    const outcome = await inLibvirt("-v", "web1", "-q", "a");
    expect(outcome).toMatchObject({ code });
    expect(outcome.stderr).toContain(sentence);
  });

  it.each<[string, Libvirt, number, string]>([
    ["a VM that is stopped is critical", { state: "shut off" }, 2, "CRITICAL - the VM 'web1' is not running"],
    ["no such VM is unknown", { error: "Domain not found" }, 3, "UNKNOWN - libvirt: Domain not found"],
    ["no channel of ours is unknown", { devices: "" }, 3, "UNKNOWN - "],
    ["no daemon is unknown", { error: "Failed to connect socket" }, 3, "UNKNOWN - libvirt: Failed to connect socket"],
  ])("for a check %s", async (_, known, code, sentence) => {
    await libvirt(known);
    const outcome = await inLibvirt("check", "-v", "web1");
    expect(outcome).toMatchObject({ code, stderr: "" });
    expect(outcome.stdout).toContain(`VMMESSAGE ${sentence}`);
  });

  it("tells of a guest in which nothing has the port open", async () => {
    await libvirt({});
    await scriptedGuest(join(directory, "web1.sock"), { connected: deaf });
    const outcome = await inLibvirt("doctor", "-v", "web1");
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stdout).toMatch(/^ok {4}VM: 'web1' \(libvirt\): Running, channel .*\nFAIL {2}agent\n$/);
    expect(outcome.stderr).toContain("libvirt says that nothing in the guest has the port open");
  });

  it("without virsh, the three ways are named", async () => {
    const outcome = await vmmessage(["-v", "web1", "-q", "a"], { env: { PATH: directory } });
    expect(outcome).toMatchObject({ code: 3 });
    expect(outcome.stderr).toMatch(/--socket PATH.*--socket-dir DIR.*VMMESSAGE_SOCKET_DIR.*libvirt's virsh/);
  });
});
