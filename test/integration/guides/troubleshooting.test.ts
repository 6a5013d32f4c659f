/**
 * Troubleshooting by symptom: what is wrong is made so, and the commands are typed and print what the page shows, in the
 * order of the page. What cannot be made here has no transcript there.
 */
import { existsSync } from "node:fs";
import { chmod, cp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { scriptedGuest } from "../host-cli/scripted-guest.ts";
import { LibvirtHost } from "./first-hosts.ts";
import { FirstStepsLab } from "./first-steps-lab.ts";
import { linksOf, playBlocks, sectionsOf } from "./guide.ts";

const PAGE = "../troubleshooting.md";

type Lab = FirstStepsLab<LibvirtHost>;

/** What is wrong where a section begins, beside what those before it have left. Returns what has to be put right after it. */
type Trouble = (lab: Lab) => Promise<(() => Promise<void>) | undefined>;

const troubles: Readonly<Record<string, Trouble>> = {
  "In the guest: no agent answers": async (lab) => {
    await lab.type("host# ", "apt install ./vmmessage_0.1.0_amd64.deb");
    await lab.type("guest# ", "apt install ./vmmessage-agent_0.1.0_amd64.deb");
  },
  "The VM has no channel": nothingMore,
  "It was given its channel, and is still without": nothingMore,
  "The VM is not running": (lab) => {
    lab.isAgentEnabled = false;
    return nothingMore();
  },
  "The channel is held": async (lab) => {
    const holder = connect((await lab.host.channelPath()) ?? "");
    onTestFinished(() => void holder.destroy());
    return () => Promise.resolve(void holder.destroy());
  },
  "No agent in the VM answers": nothingMore,
  "Over the limit": nothingMore,
  "A change is not confirmed": async (lab) => {
    await scriptedGuest(lab.path("/run/vms/web1.sock"), { answer: () => undefined });
  },
  "A secret is gone after a reboot": async (lab) => {
    await lab.type("guest# ", "agent -p com.example.password=lost --secret");
    await lab.agent.kill("SIGTERM");
    await rm(lab.agent.runDirectory, { recursive: true });
    await lab.agent.start();
  },
  "A command needs a manager": nothingMore,
  "The manager is not running": async (lab) => {
    await lab.type("host# ", "apt install ./vmmessage-manager_0.1.0_all.deb");
    await lab.manager.kill("SIGKILL");
  },
  "Not permitted to open the manager's socket": async (lab) => {
    const directory = dirname(lab.manager.socketPath);
    await chmod(directory, 0);
    return () => chmod(directory, 0o700);
  },
  "The manager cannot ask libvirt": async (lab) => {
    await lab.host.stopLibvirt();
    return () => lab.host.startLibvirt();
  },
  "An earlier value is back": async (lab) => {
    await lab.type("host# ", "vmmessage -v web1 -k com.example.role -V before --quiet");
    await lab.agent.kill("SIGTERM");
    const snapshot = lab.path("/snapshot");
    await cp(lab.agent.stateDirectory, snapshot, { recursive: true });
    await lab.type("guest# ", "systemctl start vmmessage-agent");
    await lab.type("host# ", "vmmessage -v web1 -k com.example.role -V after --quiet");
    await lab.agent.kill("SIGKILL");
    await rm(lab.agent.stateDirectory, { recursive: true });
    await cp(snapshot, lab.agent.stateDirectory, { recursive: true });
    await lab.type("guest# ", "systemctl start vmmessage-agent");
  },
};

function nothingMore(): Promise<undefined> {
  return Promise.resolve(undefined);
}

test("each symptom looks as the page shows it, and what it says helps", { timeout: 300_000 }, async () => {
  await using lab = await FirstStepsLab.open({
    host: (surroundings) => LibvirtHost.open(surroundings),
    wrappers: {
      pass: "echo -n 'correct horse battery'",
      // Without root's way past the modes of files.
      runuser: 'exec setpriv --bounding-set=-dac_override,-dac_read_search "${@:4}"',
    },
  });
  const sections = [...sectionsOf(PAGE)].filter(([, blocks]) => blocks.some(({ isConsole }) => isConsole));
  expect(sections.map(([heading]) => heading)).toEqual(Object.keys(troubles));
  for (const [heading, blocks] of sections) {
    const putRight = await troubles[heading]?.(lab);
    await playBlocks(blocks, lab);
    await putRight?.();
  }
});

test("the page leads to files that are there", () => {
  expect(linksOf(PAGE).filter((path) => !existsSync(path))).toEqual([]);
});
