// A real libvirtd, run by an unprivileged user, with a real guest of its own: found, spoken to, lost and found again; and
// what a queue of a real RabbitMQ is told of it.
import { chown, copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as amqp from "amqplib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventPage } from "../../shared/api/event-schemas.ts";
import type { VmSummary } from "../../shared/api/schemas.ts";
import { CHANNEL_XML, LibvirtUnderTest } from "../integration/support/libvirt.ts";
import { ManagerUnderTest } from "../integration/support/managers.ts";
import { RabbitUnderTest } from "../integration/support/rabbitmq.ts";
import { type GuestImage, guestImage } from "./harness/image/guest-image.ts";
import { kernelArgs } from "./harness/qemu-args.ts";
import { waitFor } from "./harness/wait-for.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000c3";
const nobody = 65_534;
const minutes = { timeoutMs: 180_000 };

let rabbit: RabbitUnderTest;
let libvirt: LibvirtUnderTest;
let manager: ManagerUnderTest;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
  libvirt = await LibvirtUnderTest.start();
  await defineGuest(await guestImage(console.error));
  const targets = { allow: ["127.0.0.0/8"] };
  manager = await ManagerUnderTest.start([], { inventory: { libvirt: [libvirt.uri] }, events: { targets } });
  const coordinates = `127.0.0.1:${rabbit.port},/,guest,guest,states`;
  const added = await manager.post(`/v1/vms/${uuid}/notify`, { coordinates, vmId: "22" });
  expect(added).toMatchObject({ status: 200, body: { queue: "states", vmId: "22" } });
});
afterAll(async () => {
  await manager[Symbol.asyncDispose]();
  await libvirt[Symbol.asyncDispose]();
  await rabbit.close();
});

/** The harness's guest as a domain. libvirt's user gets files of its own: it may not read everybody's. */
async function defineGuest(image: GuestImage): Promise<void> {
  const own = async (name: keyof GuestImage): Promise<string> => {
    const path = join(libvirt.directory, name);
    await copyFile(image[name], path);
    if (process.getuid?.() === 0) await chown(path, nobody, nobody);
    return path;
  };
  const disk = (path: string, device: string, more = ""): string =>
    `<disk type='file'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='${device}' bus='virtio'/>${more}</disk>`;
  const xml = `<domain type='qemu'><name>real guest</name><uuid>${uuid}</uuid><memory unit='MiB'>256</memory>
    <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${await own("kernel")}</kernel>
    <initrd>${await own("initrd")}</initrd><cmdline>${kernelArgs} vmm_agent=""</cmdline></os>
    <features><acpi/></features><cpu mode='maximum'/><on_reboot>restart</on_reboot><devices>
    ${disk(await own("rootDisk"), "vda")}${disk(await own("bundleDisk"), "vdb", "<readonly/>")}${CHANNEL_XML}
    <serial type='file'><source path='${join(libvirt.directory, "console")}'/></serial><memballoon model='none'/>
    </devices></domain>`;
  const file = join(libvirt.directory, "guest.xml");
  await writeFile(file, xml);
  await libvirt.virsh("define", `--file=${file}`);
}

async function untilVm(what: string, isSo: (vm: VmSummary) => boolean): Promise<VmSummary> {
  let vm: VmSummary | undefined;
  await waitFor(what, async () => isSo((vm = await manager.vm(uuid))), minutes);
  if (vm === undefined) throw new Error("the VM was never seen");
  return vm;
}

/** What was said to the queue since the last time, when so many messages are there. */
async function notified(count: number): Promise<string[]> {
  const connection = await amqp.connect(rabbit.url);
  try {
    const channel = await connection.createChannel();
    const said: string[] = [];
    await waitFor(
      `${count} notifications`,
      async () => {
        const message = await channel.get("states", { noAck: true });
        if (message !== false) said.push(message.content.toString());
        return said.length >= count;
      },
      minutes,
    );
    return said;
  } finally {
    await connection.close();
  }
}

async function stateEvents(): Promise<[type: string, isResync: boolean][]> {
  const query = "category=ResourceStateEvent&type=VM.*&limit=1000";
  const { events } = (await manager.get<EventPage>(`/v1/events?${query}`)).body;
  return events.map(({ type, isResync }) => [type, isResync === true]);
}

const isUp = ({ link }: VmSummary): boolean => link.state === "up";

describe("the manager on a libvirt host", () => {
  test("delivers what waited for a VM that was off, as soon as its agent answers", async () => {
    expect(await manager.vm(uuid)).toMatchObject({ name: "real guest", status: "Stopped", link: { state: "off" } });
    const { messageId } = await manager.set(uuid, "com.example.role", "frontend");
    await libvirt.virsh("start", uuid);
    const vm = await untilVm("the link", isUp);
    expect(vm.status).toBe("Running");
    await manager.untilReceipt(messageId, "delivered");
    const { body } = await manager.get(`/v1/vms/${uuid}/keys/com.example.role`);
    expect(body).toMatchObject({ from: "guest", entry: { value: "frontend", setBy: "host" } });
  });

  test("follows a pause, and a machine that is taken away and started again with another channel", async () => {
    const { channel } = await untilVm("the link", isUp);
    await libvirt.virsh("suspend", uuid);
    await untilVm("the pause", ({ status }) => status === "Paused");
    await libvirt.virsh("resume", uuid);
    await untilVm("the end of the pause", ({ status }) => status === "Running");
    await libvirt.virsh("destroy", uuid);
    await untilVm("the end", ({ status, link }) => status === "Stopped" && link.state === "off");
    const mirrored = await manager.get(`/v1/vms/${uuid}/keys/com.example.role`);
    expect(mirrored.body).toMatchObject({ from: "mirror", status: "Stopped", entry: { value: "frontend" } });
    const { messageId } = await manager.set(uuid, "second", "life");
    await libvirt.virsh("start", uuid);
    const again = await untilVm("the link", isUp);
    expect(again.channel).not.toBe(channel);
    await manager.untilReceipt(messageId, "delivered");
    const greetings = await manager.logged("greeted");
    expect(greetings.at(-1)?.["findings"]).toContain("rebooted");
  });

  test("has told the VM's queue of each state once in each life, in StratusLab's words", async () => {
    const lives = ["CREATE", "RUNNING", "DONE", "CREATE", "RUNNING"];
    expect(await notified(lives.length)).toEqual(lives.map((state) => `VM_ID=22; STATE=${state}`));
    const happened = (await stateEvents()).filter(([, isResync]) => !isResync).map(([type]) => type);
    const paused = ["VM.RUNNING", "VM.PAUSED", "VM.RUNNING", "VM.STOPPED", "VM.RUNNING"];
    expect(happened).toEqual(paused);
  });

  test("goes on with its links while libvirtd is away, and learns afterwards what it missed", async () => {
    await untilVm("the link", isUp);
    await libvirt.kill();
    const health = async () => (await manager.get<{ status: string }>("/health")).body.status;
    await waitFor("the manager to notice", async () => (await health()) === "degraded", minutes);
    const receipt = await manager.set(uuid, "without", "libvirtd", { waitFor: "delivered", waitMs: 60_000 });
    expect(receipt.state).toBe("delivered");
    await libvirt.killQemu("real guest");
    await libvirt.start();
    await waitFor("libvirt to be back", async () => (await health()) === "ok", minutes);
    await untilVm("what was missed", ({ status, link }) => status !== "Running" && link.state === "off");
    expect(await notified(1)).toEqual(["VM_ID=22; STATE=DONE"]);
    const [[type, isResync] = []] = (await stateEvents()).slice(-1);
    expect(["VM.STOPPED", "VM.CRASHED"]).toContain(type);
    expect(isResync).toBe(true);
  });
});
