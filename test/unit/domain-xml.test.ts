import { expect, it } from "vitest";
import { readDomain } from "../../shared/libvirt/domain-xml.ts";

const NAME = "org.vmmessage.agent.0";

function domain(...channels: string[]): string {
  return `<domain type='kvm' id='3'><name>web1</name><uuid>d2a8</uuid><devices>${channels.join("")}</devices></domain>`;
}

const GUEST_AGENT = `<channel type='unix'><source mode='bind' path='/run/qga.sock'/>
  <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>`;
const SPICE = "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>";
const OURS = `<channel type='unix'><source mode='bind' path='/run/a&amp;b.sock'/>
  <target type='virtio' name='${NAME}' state='disconnected'/><alias name='channel2'/></channel>`;

it("finds our channel among others, with its socket and the state of the guest's end", () => {
  expect(readDomain(domain(GUEST_AGENT, SPICE, OURS), NAME)).toEqual({
    name: "web1",
    uuid: "d2a8",
    channel: { type: "unix", socketPath: "/run/a&b.sock", state: "disconnected" },
    guestAgent: { type: "unix", socketPath: "/run/qga.sock", state: "connected" },
  });
});

it.each([[[GUEST_AGENT, SPICE, OURS]], [[SPICE, OURS, GUEST_AGENT]], [[GUEST_AGENT]]])(
  "finds QEMU's guest agent wherever it stands",
  (channels) => {
    expect(readDomain(domain(...channels), NAME)?.guestAgent?.state).toBe("connected");
  },
);

it("a domain without QEMU's guest agent has none", () => {
  expect(readDomain(domain(SPICE, OURS), NAME)).toMatchObject({ guestAgent: undefined });
});

it("finds it when it is the only one", () => {
  expect(readDomain(domain(OURS), NAME)?.channel?.socketPath).toBe("/run/a&b.sock");
});

it("a definition without a path has none", () => {
  const channel = `<channel type='unix'><target type='virtio' name='${NAME}'/></channel>`;
  expect(readDomain(domain(channel), NAME)?.channel).toEqual({ type: "unix", socketPath: undefined, state: undefined });
});

it.each([
  ["other channels only", domain(GUEST_AGENT, SPICE)],
  ["no channel", domain()],
  ["no devices", "<domain><name>web1</name></domain>"],
])("a domain with %s has no channel of ours", (_, xml) => {
  expect(readDomain(xml, NAME)).toMatchObject({ name: "web1", channel: undefined });
});

it("a name that looks like a number stays text", () => {
  expect(readDomain("<domain><name>007</name></domain>", NAME)?.name).toBe("007");
});

it.each(["", "no xml", "<domain>", "<network><name>default</name></network>"])("'%s' is no domain", (xml) => {
  expect(readDomain(xml, NAME)).toBeUndefined();
});
