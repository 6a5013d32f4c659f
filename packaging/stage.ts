// What each package has, as a tree of files: the .deb and the .rpm are made of the same ones.
import { chmod, copyFile, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { withInstalledLinks } from "./document-links.ts";
import { serialportAddon } from "./executables/build-executables.ts";
import { type PackageName, packageNames, projectRoot } from "./release.ts";

export interface StageInputs {
  bundleDir: string;
  executableDir: string;
  manualDir: string;
  completionDir: string;
  /** NAME.cdx.json and NAME.third-party-licences.txt of each executable. */
  licenceDir: string;
  /** Emptied before. Gets a directory for each package. */
  outDir: string;
}

/** What comes to a path: a file of the project or of the inputs, a link, or a directory for files that are not ours. */
type Item = string | { linkTo: string } | typeof emptyDirectory;

/** By paths in the package. */
type Content = Readonly<Record<string, Item>>;

const emptyDirectory = { isEmpty: true } as const;

const unitDirectory = "usr/lib/systemd/system";
const home = "usr/lib/vmmessage";
const completionDirectory = "usr/share/bash-completion/completions";
const agentGuides = [
  "agent.md",
  "bootstrap.md",
  "protocol.md",
  "troubleshooting.md",
  "guides/moving-from-oracle-vm.md",
];
const configurationDirectory = { "etc/vmmessage": emptyDirectory };

/** Everything else is read by programs, not run. */
const executable = /^usr\/s?bin\//;

export async function stagePackages(inputs: StageInputs): Promise<void> {
  await rm(inputs.outDir, { recursive: true, force: true });
  const packages = await Promise.all(
    packageNames.map(async (name) => ({
      directory: join(inputs.outDir, name),
      content: await contentOf[name](inputs),
    })),
  );
  const placesOf = installedPlaces(packages.map(({ content }) => content));
  for (const { directory, content } of packages) {
    for (const [path, item] of Object.entries(content)) await put(item, { directory, path, placesOf });
  }
}

type PlacesOf = (source: string) => readonly string[];

/** Of what several packages have, the host's is named first: the manager's package needs it. */
function installedPlaces(contents: readonly Content[]): PlacesOf {
  const items = contents.toReversed().flatMap((content) => Object.entries(content));
  return (source) => items.filter(([, item]) => item === ofProject(source)).map(([path]) => `/${path}`);
}

interface Place {
  /** The package's tree. */
  directory: string;
  /** In the package. */
  path: string;
  placesOf: PlacesOf;
}

async function put(item: Item, { directory, path, placesOf }: Place): Promise<void> {
  const target = join(directory, path);
  await mkdir(dirname(target), { recursive: true });
  if (typeof item === "string") {
    if (path.endsWith(".md")) await copyDocument(item, target, `/${path}`, placesOf);
    else await copyFile(item, target);
    await chmod(target, executable.test(path) ? 0o755 : 0o644);
  } else if ("linkTo" in item) {
    await symlink(item.linkTo, target);
  } else {
    await mkdir(target, { recursive: true });
  }
}

async function copyDocument(source: string, target: string, path: string, placesOf: PlacesOf): Promise<void> {
  const document = { source: relative(projectRoot, source), path };
  await writeFile(target, withInstalledLinks(await readFile(source, "utf8"), document, placesOf));
}

const contentOf: Readonly<Record<PackageName, (inputs: StageInputs) => Content | Promise<Content>>> = {
  "vmmessage-agent": async (inputs) => ({
    "usr/bin/vmmessage-agent": join(inputs.executableDir, "agent"),
    [`${home}/serialport.node`]: serialportAddon,
    ...(await filesOf("packaging/python/templateconfig", `${home}/python/templateconfig`)),
    ...configurationDirectory,
    "etc/vmmessage/template.d": emptyDirectory,
    "etc/template.d/scripts": emptyDirectory,
    ...units("vmmessage-agent.service", "vmmessage-bootstrap.service", "vmmessage-reconfigure.service"),
    ...units("vmmessage-configured.target"),
    ...(await filesOf("packaging/systemd/presets", "usr/lib/systemd/system-preset")),
    ...(await filesOf("packaging/udev", "usr/lib/udev/rules.d")),
    "usr/lib/tmpfiles.d/vmmessage-agent.conf": ofProject("packaging/tmpfiles/vmmessage-agent.conf"),
    ...manuals(inputs, "vmmessage-agent.8"),
    ...completions(inputs, "vmmessage-agent", "agent"),
    ...guides("vmmessage-agent", ...agentGuides),
    ...examples("vmmessage-agent", {
      ...dropIns("webapp.service.d", "vmmessage.conf"),
      ...dropIns("vmmessage-agent.service.d", "checks.conf"),
      "template.d/nginx-site.yaml": "examples/template.d/nginx-site.yaml",
    }),
    ...licences("vmmessage-agent", inputs),
  }),
  vmmessage: async (inputs) => ({
    "usr/bin/vmmessage": join(inputs.executableDir, "vmmessage"),
    ...configurationDirectory,
    ...manuals(inputs, "vmmessage.1"),
    ...completions(inputs, "vmmessage"),
    ...guides("vmmessage", "vmmessage.md", "protocol.md", "troubleshooting.md"),
    ...(await filesOf("docs/guides", "usr/share/doc/vmmessage/guides")),
    ...licences("vmmessage", inputs),
  }),
  "vmmessage-manager": (inputs) => ({
    "usr/sbin/vmmessaged": { linkTo: "../bin/vmmessage" },
    [`${home}/vmmessaged-store.js`]: join(inputs.bundleDir, "vmmessaged-store.js"),
    ...configurationDirectory,
    ...units("vmmessaged.service"),
    "usr/lib/sysusers.d/vmmessage-manager.conf": ofProject("packaging/sysusers/vmmessage-manager.conf"),
    "usr/lib/tmpfiles.d/vmmessage-manager.conf": ofProject("packaging/tmpfiles/vmmessage-manager.conf"),
    ...manuals(inputs, "vmmessaged.8"),
    ...completions(inputs, "vmmessaged"),
    ...guides("vmmessage-manager", "manager.md", "peers.md", "events.md", "monitor.md", "api.md"),
    ...examples("vmmessage-manager", {
      ...dropIns("vmmessaged.service.d", "images.conf", "programs.conf"),
      "dns/update-dns.py": "examples/dns/update-dns.py",
      "inventory-table/update-inventory.py": "examples/inventory-table/update-inventory.py",
      "python-consumer/consume.py": "examples/python-consumer/consume.py",
      "recovery/reset-vm.sh": "examples/recovery/reset-vm.sh",
    }),
  }),
  "vmmessage-ovmd-compat": async (inputs) => ({
    ...(await filesOf("packaging/ovmd-compat", "usr/bin")),
    [`${unitDirectory}/ovmd.service`]: { linkTo: "vmmessage-agent.service" },
    ...manuals(inputs, "ovmd.8", "ovm_vmmessage.1", "ovm-template-config.8"),
    ...completions(inputs, "ovmd", "ovm_vmmessage", "ovm-template-config"),
  }),
};

function ofProject(path: string): string {
  return join(projectRoot, path);
}

/** All files of a folder of the project, in their order by name. */
async function filesOf(folder: string, to: string): Promise<Content> {
  const names = (await readdir(ofProject(folder))).sort();
  return Object.fromEntries(names.map((name) => [`${to}/${name}`, ofProject(`${folder}/${name}`)]));
}

function units(...names: string[]): Content {
  return Object.fromEntries(names.map((name) => [`${unitDirectory}/${name}`, ofProject(`packaging/systemd/${name}`)]));
}

/** "agent.8" goes into man8. */
function manuals({ manualDir }: StageInputs, ...names: string[]): Content {
  return Object.fromEntries(names.map((name) => [`usr/share/man/man${name.slice(-1)}/${name}`, join(manualDir, name)]));
}

function completions({ completionDir }: StageInputs, ...commands: string[]): Content {
  return Object.fromEntries(commands.map((name) => [`${completionDirectory}/${name}`, join(completionDir, name)]));
}

function guides(packageName: PackageName, ...names: string[]): Content {
  return Object.fromEntries(
    [...names.map((name) => `docs/${name}`), "CHANGELOG.md"].map((path) => {
      return [`usr/share/doc/${packageName}/${path.replace("docs/", "")}`, ofProject(path)];
    }),
  );
}

function examples(packageName: PackageName, files: Readonly<Record<string, string>>): Content {
  return Object.fromEntries(
    Object.entries(files).map(([to, from]) => [`usr/share/doc/${packageName}/examples/${to}`, ofProject(from)]),
  );
}

/** For {@link examples}. */
function dropIns(folder: string, ...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [`${folder}/${name}`, `packaging/systemd/examples/${folder}/${name}`]));
}

/** Of the package's executable. */
function licences(name: "vmmessage-agent" | "vmmessage", { licenceDir }: StageInputs): Content {
  return {
    [`usr/share/doc/${name}/third-party-licences.txt`]: join(licenceDir, `${name}.third-party-licences.txt`),
    [`usr/share/doc/${name}/${name}.cdx.json`]: join(licenceDir, `${name}.cdx.json`),
  };
}
