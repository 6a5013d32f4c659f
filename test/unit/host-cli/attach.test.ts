import { describe, expect, it } from "vitest";
import { attachedInWords } from "../../../host-cli/attach/attach-words.ts";
import type { AttachableDomain, Machine } from "../../../host-cli/attach/attachable-domain.ts";
import { diffLines, withChannel } from "../../../host-cli/attach/definition-change.ts";
import { afterPlan, effectOf, planFor } from "../../../host-cli/attach/plan.ts";
import type { Command } from "../../../host-cli/command.ts";
import { parseArguments } from "../../../host-cli/parse-arguments.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { readDomainInfo } from "../../../shared/libvirt/domain-info.ts";
import { readNamedDomain } from "../../../shared/libvirt/named-domain.ts";

/** `vmmessage WORDS`, cut at the spaces. */
function parse(words: string, environment: Record<string, string> = {}): Command {
  const parsed = parseArguments(words.split(" "), { hostname: "node7", environment });
  if (parsed.type === "text") throw new Error(`printed: ${parsed.text}`);
  return parsed.command;
}

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof CommandError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "not refused";
}

describe("a command line means", () => {
  it.each([
    ["attach -v web1", { name: "attach", vm: "web1", shows: "diff", isDryRun: false, updates: false, confirms: false }],
    ["attach -v web1 --update --confirm", { updates: true, confirms: true }],
    ["attach -v web1 --print-diff", { shows: "diff", isDryRun: true }],
    ["attach -v web1 --print-xml", { name: "attach", shows: "xml", isDryRun: true }],
    ["attach -v web1 --print-diff --define", { shows: "diff", isDryRun: false }],
    ["attach -v web1 -c qemu:///session", { target: { libvirtUri: "qemu:///session" } }],
    ["attach -v web1 -h localhost", { name: "attach" }],
    ["attach --print-xml", { name: "channel xml" }],
  ])("%s", (words, command) => {
    expect(parse(words)).toMatchObject(command);
  });

  it("is for libvirt whatever the environment says of sockets and a manager here", () => {
    const environment = { VMMESSAGE_SOCKET_DIR: "/run/sockets", VMMESSAGE_MANAGER: "/run/manager.sock" };
    expect(parse("attach -v web1", environment)).toMatchObject({ name: "attach", vm: "web1" });
  });
});

describe("a command line is refused", () => {
  it.each([
    ["attach", "which VM?"],
    ["attach --print-diff", "which VM?"],
    ["attach --print-xml --define", "which VM?"],
    ["attach -v web1 --print-diff --print-xml", "two views of the change"],
    ["attach -v web1 --confirm --json", "--confirm shows the change to somebody, and --json does not"],
    ["attach -v web*", "attach is for one VM"],
    ["attach -v web1 -h hv2:8443", "that of hv2; for a VM there run it there, or give --connect"],
    ["attach -v web1 --manager /run/m.sock", "--manager names one"],
    ["attach -v web1 --socket /run/web1.sock", "--socket says where a channel is, and attach makes one"],
    ["attach -v web1 --socket-dir /run", "--socket-dir says where a channel is"],
    ["attach -v web1 -u alice", "-u and -p were given for one"],
    ["attach -v web1 --ttl 1h", "--ttl goes with set"],
  ])("%s", (words, sentence) => {
    expect(refusal(() => parse(words))).toMatch(/^usage: /);
    expect(refusal(() => parse(words))).toContain(sentence);
  });

  it("where the environment names a manager on another host, but not beside a connection", () => {
    const environment = { VMMESSAGE_HOST: "hv2" };
    expect(refusal(() => parse("attach -v web1", environment))).toContain("VMMESSAGE_HOST");
    expect(parse("attach -v web1 -c qemu:///system", environment)).toMatchObject({ name: "attach" });
  });
});

const CHANNEL = `    <channel type='unix'>
      <target type='virtio' name='org.vmmessage.agent.0'/>
    </channel>
`;

/** As libvirt prints one, with CHANNEL where our channel is to be. */
function definition({ more = "", before = "", after = "" } = {}): string {
  return `<domain type='kvm'>
  <name>web1</name>${more}
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
${before}CHANNEL${after}  </devices>
</domain>
`;
}

describe("the planned definition", () => {
  const SPICE =
    "    <channel type='spicevmc'>\n      <target type='virtio' name='com.redhat.spice.0'/>\n    </channel>\n";
  const BALLOON = "    <memballoon model='none'/>\n";

  it.each([
    ["with no other device", {}],
    ["with a device before it", { before: "    <controller type='pci' index='0' model='pci-root'/>\n" }],
    ["with another channel", { before: SPICE, after: BALLOON }],
    ["with devices after it", { after: `    <input type='mouse' bus='ps2'/>\n${BALLOON}` }],
    [
      "with metadata that looks like the end of it",
      { more: "\n  <metadata>\n    <a:b xmlns:a='x'><![CDATA[\n  </devices>\n]]><devices/></a:b>\n  </metadata>" },
    ],
    ["with a title of many languages", { more: "\n  <title>ünï 😀 &lt;/devices&gt;</title>", after: BALLOON }],
  ])("%s has the channel where libvirt writes it, and is the same otherwise", (_, parts) => {
    const text = definition(parts);
    expect(withChannel(text.replace("CHANNEL", ""))).toBe(text.replace("CHANNEL", CHANNEL));
  });

  it("has a diff under virt-xml's names", () => {
    const before = definition({ after: BALLOON }).replace("CHANNEL", "");
    expect(diffLines(before, withChannel(before))).toEqual([
      "--- Original XML",
      "+++ Altered XML",
      "@@ -2,6 +2,9 @@",
      "   <name>web1</name>",
      "   <devices>",
      "     <emulator>/usr/bin/qemu-system-x86_64</emulator>",
      "+    <channel type='unix'>",
      "+      <target type='virtio' name='org.vmmessage.agent.0'/>",
      "+    </channel>",
      "     <memballoon model='none'/>",
      "   </devices>",
      " </domain>",
    ]);
    expect(diffLines(before, before)).toEqual([]);
  });

  it("of what has no devices cannot be told", () => {
    expect(refusal(() => withChannel("<domain><name>a</name></domain>"))).toContain("a domain without devices");
  });
});

const WITH: Machine = { is: "running", hasChannel: true, hasController: true };
const WITHOUT: Machine = { is: "running", hasChannel: false, hasController: true };
const BARE: Machine = { is: "running", hasChannel: false, hasController: false };
const SAVED: Machine = { is: "saved", hasChannel: false, hasController: true };

function domain(machine: Machine | undefined, hasChannel: boolean, isTransient = false): AttachableDomain {
  const xml = definition().replace("CHANNEL", "");
  return { name: "web1", uuid: "u", status: "Running", isTransient, definition: { xml, hasChannel }, machine };
}

describe("the plan", () => {
  it.each([
    ["off, without", undefined, false, { plan: "define", effect: "next-start" }],
    ["off, with", undefined, true, { plan: "", effect: "next-start" }],
    ["saved, without", SAVED, false, { plan: "define", effect: "full-stop" }],
    ["saved without, defined since", SAVED, true, { plan: "", effect: "full-stop" }],
    ["saved, with", { ...WITH, is: "saved" }, true, { plan: "", effect: "next-start" }],
    ["running, without", WITHOUT, false, { plan: "define", effect: "full-stop", updated: "define plug", then: "now" }],
    ["running without, defined since", WITHOUT, true, { plan: "", effect: "full-stop", updated: "plug", then: "now" }],
    ["running with, and not defined", WITH, false, { plan: "define", effect: "now" }],
    ["running, with", WITH, true, { plan: "", effect: "now" }],
  ] as const)("for a VM that is %s", (_, machine, hasChannel, expected) => {
    const planned = (updates: boolean) => {
      const before = domain(machine, hasChannel);
      const plan = planFor(before, { updates });
      const words = [plan.defines ? "define" : "", plan.plugs ? "plug" : ""].join(" ").trim();
      return [words, effectOf(afterPlan(before, plan))];
    };
    const { plan, effect } = expected;
    expect(planned(false)).toEqual([plan, effect]);
    expect(planned(true)).toEqual("updated" in expected ? [expected.updated, expected.then] : [plan, effect]);
  });

  it("for a transient VM is to plug, and nothing else", () => {
    expect(planFor(domain(WITHOUT, false, true), { updates: true })).toEqual({ defines: false, plugs: true });
    expect(planFor(domain(WITH, true, true), { updates: true })).toEqual({ defines: false, plugs: false });
    expect(refusal(() => planFor(domain(WITHOUT, false, true), { updates: false }))).toMatch(
      /^failed: 'web1' is transient.*--update.*vmmessage attach --print-xml/,
    );
  });

  it("for a VM without a controller is none when it is to be plugged in", () => {
    const refused = (hasChannel: boolean, isTransient: boolean) => {
      return refusal(() => planFor(domain(BARE, hasChannel, isTransient), { updates: true }));
    };
    expect(refused(false, false)).toMatch(
      /^failed: 'web1' runs without a virtio-serial controller.*leave --update out.*nothing was changed$/,
    );
    expect(refused(true, false)).toContain("virtio-serial");
    expect(refused(false, true)).toContain("add the channel to the XML that creates it");
  });

  it("says when a full stop is needed, and that a reboot is not one", () => {
    const said = (machine: Machine | undefined) => {
      return attachedInWords(domain(machine, true), { defines: false, plugs: false }, true).join("\n");
    };
    expect(said(WITHOUT)).toMatch(/until a full stop and start .*a reboot inside the guest is not enough\. --update/);
    expect(said(BARE)).not.toContain("--update");
    expect(said(SAVED)).toContain("after the next start it takes a full stop and another start");
    expect(said(undefined)).not.toContain("full stop");
  });
});

describe("dominfo", () => {
  const printed = (facts: Record<string, string>): string => {
    const all = { Id: "-", Name: "web1", State: "shut off", Persistent: "yes", "Managed save": "no", ...facts };
    return Object.entries(all)
      .map(([fact, value]) => `${`${fact}:`.padEnd(15)} ${value}`)
      .join("\n");
  };

  it.each([
    [{}, { status: "Stopped", isActive: false, isTransient: false, hasSavedState: false }],
    [
      { Id: "7", State: "paused" },
      { status: "Paused", isActive: true },
    ],
    [
      { Id: "7", State: "running", Persistent: "no" },
      { status: "Running", isTransient: true },
    ],
    [{ "Managed save": "yes" }, { hasSavedState: true }],
    [{ Name: "Persistent:     no" }, { isTransient: false }],
  ])("%j", (facts, info) => {
    expect(readDomainInfo(printed(facts))).toMatchObject(info);
  });

  it("that is none says nothing", () => {
    expect(readDomainInfo("")).toBeUndefined();
    expect(readDomainInfo("error")).toBeUndefined();
  });
});

describe("the domain that virsh printed is the one that was asked for", () => {
  const uuid = "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11";
  const xml = `<domain><name>web1</name><uuid>${uuid}</uuid></domain>`;

  it.each(["web1", uuid, uuid.toUpperCase()])("as %s", (name) => {
    expect(readNamedDomain(xml, name)).toMatchObject({ name: "web1", uuid });
  });

  it.each(["7", "WEB1", uuid.replace("6", "7")])("and not as %s", (name) => {
    expect(refusal(() => readNamedDomain(xml, name))).toContain(`libvirt took '${name}' for the VM 'web1'`);
  });
});
