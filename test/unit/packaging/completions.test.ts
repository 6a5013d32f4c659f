/** Completions in a real bash, which is told what line it has. A terminal and its TAB are tested with the packages. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeCompletions } from "../../../packaging/completions/write-completions.ts";

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-completions-"));
  await writeCompletions({ outDir: directory });
});

afterAll(() => rm(directory, { recursive: true }));

interface Completed {
  /** As they would be typed. */
  candidates: string[];
  /** What was asked of readline: "default" is names of files. */
  options: string[];
}

/** The cursor stands at the line's end. compopt works in a completion that readline asked for, and is told of here. */
const HARNESS = `
compopt() { printf 'option %s\\0' "$2"; }
source "$1/$2"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE=$3 COMP_POINT=\${#3}
[[ $(complete -p "$2") == "complete -F "* ]] || exit 1
read -r _ _ function _ < <(complete -p "$2")
"$function" "$2"
((\${#COMPREPLY[@]} == 0)) || printf 'candidate %s\\0' "\${COMPREPLY[@]}"
`;

async function complete(
  line: string,
  { program = line.split(" ", 1)[0] ?? "", path = directory } = {},
): Promise<Completed> {
  const env = { PATH: `${path}/bin:/usr/bin:/bin`, LC_ALL: "C.UTF-8", HOME: directory };
  const words = ["--noprofile", "--norc", "-uc", HARNESS, "bash", directory, program, line];
  const { stdout } = await promisify(execFile)("bash", words, { env });
  const answers = stdout.split("\0").slice(0, -1);
  const ofKind = (kind: string): string[] =>
    answers.filter((answer) => answer.startsWith(kind)).map((answer) => answer.slice(kind.length));
  return { candidates: ofKind("candidate "), options: ofKind("option ") };
}

const targets = ["configure", "unconfigure", "reconfigure", "cleanup", "suspend", "resume", "migrate", "shutdown"];

describe("words that the definitions have", () => {
  test.each([
    ["agent ", ["run", "doctor", "heartbeat", "check", "bootstrap", "config"]],
    ["agent c", ["check", "config"]],
    ["agent check ", ["add", "list", "remove"]],
    ["agent --json check r", ["remove"]],
    ["agent --set", ["--set-param"]],
    ["agent --if", ["--if-absent", "--if-revision"]],
    ["agent -l --ti", ["--timeout", "--time-period"]],
    ["agent --otherwise ", ["defaults", "fail"]],
    ["agent bootstrap --otherwise=d", ["defaults"]],
    ["agent -d ", ["0", "1", "2"]],
    ["agent -s ", targets],
    ["agent config ", ["enumerate", "list", "status", "enable", "disable", ...targets]],
    ["agent config enable web un", ["unconfigure"]],
    ["agent config configure --dry", ["--dry-run"]],
    ["agent --watch --js", ["--json"]],
    ["agent --timeout 5 ch", ["check"]],
    ["agent --timeout=5 ch", ["check"]],
    ["agent 'ch", ["check"]],
    ['agent "check" l', ["list"]],
    ["agent 2> log check l", ["list"]],
    ["A=b agent check l", ["list"]],
    ["ovmd --list", ["--list-params"]],
    ["ovmd --no-such", []],
    ["ovm-template-config --stdin c", ["configure", "cleanup"]],
    ["ovm-template-config --hu", ["--human-readable"]],
    ["vmmessage user ", ["list", "add", "change", "remove"]],
    ["vmmessage -v web1 user add alice --role ", ["read", "write", "admin"]],
    ["vmmessage user add --vms web1 alice --pu", ["--public-key"]],
    ["vmmessage events --category A", ["ActionEvent", "AlertEvent", "AsyncJobEvent"]],
    ["vmmessage events --type VM.ST", ["VM.STOPPED", "VM.START", "VM.STOP"]],
    ["vmmessage --connect qemu:///sy", ["///system"]],
    ["vmmessage save --format ", ["qcow2", "raw"]],
    ["vmmessage subscription add x --format=", ["cloudevents", "cloudstack"]],
    ["vmmessage bootstrap --secret-f", ["--secret-file"]],
    ["vmmessage bootstrap --secret --no-wait --com", ["--commit"]],
    ["vmmessage --secret boo", ["bootstrap"]],
    ["ovm_vmmessage doc", ["doctor"]],
    ["vmmessaged ", ["run", "check"]],
    ["vmmessaged --js", ["--json"]],
  ])("%s", async (line, candidates) => {
    const program = line.startsWith("A=b") ? "agent" : undefined;
    expect(await complete(line, { ...(program && { program }) })).toEqual({ candidates, options: [] });
  });

  test("are no candidates where a value stands that nobody can list", async () => {
    for (const line of [
      "agent -e ",
      "agent --ttl ",
      "vmmessage -k ",
      "vmmessage -v web1 get ",
      "vmmessage bootstrap --secret ",
    ]) {
      expect(await complete(line)).toEqual({ candidates: [], options: [] });
    }
  });
});

describe("names of files", () => {
  test.each([
    ["agent --file ", "default"],
    ["agent --pid-file=/ru", "default"],
    ["agent --state-dir /v", "dirnames"],
    ["agent --value-file cert=/e", "default"],
    ["agent check add web -- ", "default"],
    ["agent -l > ", "default"],
    ["agent -l 2>/de", "default"],
    ["vmmessage --vms-from ", "default"],
    ["vmmessage bootstrap --secret-file token=", "default"],
    ["vmmessaged -c ", "default"],
  ])("%s", async (line, option) => {
    expect(await complete(line)).toEqual({ candidates: [], options: [option] });
  });
});

/** A program on the PATH, in place of one that would ask the machine; it tells with what words it was called. */
async function withPrograms(programs: Record<string, string>): Promise<{ path: string }> {
  const path = await mkdtemp(join(directory, "path-"));
  await mkdir(join(path, "bin"));
  for (const [name, commands] of Object.entries(programs)) {
    const script = `#!/bin/sh\nprintf '%s ' "$@" > ${path}/words-of-${name}\n${commands}\n`;
    await writeFile(join(path, "bin", name), script, { mode: 0o755 });
  }
  return { path };
}

const printing = (...lines: string[]): string => `cat <<'END'\n${lines.join("\n")}\nEND`;
const keyLines = (...keys: string[]): string => printing(...keys.map((key) => JSON.stringify({ [key]: "value" })));

describe("keys of this machine", () => {
  const hostile = [
    "$(touch x)",
    "`touch y`",
    "a key",
    "it's",
    'say "hi"',
    "back\\slash",
    "end\\",
    "a;b|c&d",
    "*",
    "~",
    "#",
    "!!",
    "ü",
  ];

  test("are candidates as a shell has to be given them, and are not run", async () => {
    const { candidates } = await complete("agent -g ", await withPrograms({ "vmmessage-agent": keyLines(...hostile) }));
    const { stdout } = await promisify(execFile)("bash", ["-c", `printf '%s\\0' ${candidates.join(" ")}`], {
      cwd: directory,
    });
    expect(stdout.split("\0").slice(0, -1)).toEqual(hostile);
  });

  test("stand behind all options that take one, and before '=' where a value follows", async () => {
    const path = await withPrograms({ "vmmessage-agent": keyLines("com.example.role", "other") });
    for (const option of ["-g", "-r", "--wait", "--watch", "--ack", "--value-stdin", "--get-param"]) {
      expect(await complete(`agent ${option} c`, path)).toEqual({ candidates: ["com.example.role"], options: [] });
    }
    for (const option of ["-p", "--value-file"]) {
      expect(await complete(`agent -l ${option} c`, path)).toMatchObject({ candidates: ["com.example.role="] });
    }
    expect(await complete("agent --get-param=o", path)).toMatchObject({ candidates: ["other"] });
  });

  test("are completed from the last colon on, which is where readline takes a word to begin", async () => {
    const path = await withPrograms({ "vmmessage-agent": keyLines("com:example:role", "com:other") });
    expect(await complete("agent -g com:e", path)).toMatchObject({ candidates: ["example:role"] });
    expect(await complete("agent -g com\\:e", path)).toMatchObject({ candidates: ["com:example:role"] });
    expect(await complete("agent -g 'com:e", path)).toMatchObject({ candidates: ["com:example:role"] });
  });

  test("that need quotes are none behind an open quote, which readline may take away", async () => {
    const path = await withPrograms({ "vmmessage-agent": keyLines(...hostile, "plain") });
    for (const quote of ["'", '"']) {
      expect(await complete(`agent -g ${quote}`, path)).toEqual({ candidates: ["ü", "plain"], options: [] });
    }
  });

  test("are asked of the agent that the line names", async () => {
    const programs = await withPrograms({ "vmmessage-agent": keyLines("a") });
    await complete("/tmp/agent --run-dir ~/lab --socket=/s -g ", { ...programs, program: "agent" });
    const words = await promisify(execFile)("cat", [join(programs.path, "words-of-vmmessage-agent")]);
    expect(words.stdout).toBe(`-l --timeout 1 --run-dir ${directory}/lab --socket /s `);
  });

  test.each([
    ["there is no agent", {}],
    ["the agent refuses", { "vmmessage-agent": "echo 'agent: not permitted' >&2; exit 6" }],
    ["what answers is no agent", { "vmmessage-agent": printing("hello", '{"a', "{}", "") }],
  ])("are none where %s, and nothing is said", async (_why, programs: Record<string, string>) => {
    expect(await complete("agent -g ", await withPrograms(programs))).toEqual({ candidates: [], options: [] });
  });
});

test("names of configuration modules come from the agent", async () => {
  const description = 'it says {"module":"trap"}';
  const list = JSON.stringify([{ module: "web", description }, { module: "web.db-2" }, { module: "other" }]);
  const path = await withPrograms({ "vmmessage-agent": printing(list) });
  expect(await complete("agent config enable ", path)).toMatchObject({ candidates: ["web", "web.db-2", "other"] });
  expect(await complete("agent config configure --module w", path)).toMatchObject({ candidates: ["web", "web.db-2"] });
  expect(await complete("ovm-template-config --script o", path)).toMatchObject({ candidates: ["other"] });
});

describe("names of VMs", () => {
  test("come from the manager that the line names, and no password goes there", async () => {
    const programs = await withPrograms({ vmmessage: printing("web1", "web 2", "$(touch x)", "a\\u001bb") });
    const line = "vmmessage --manager /m.sock -h hv1 -u admin -p secret -v ";
    expect(await complete(line, programs)).toMatchObject({ candidates: ["web1", "web\\ 2", "\\$\\(touch\\ x\\)"] });
    const words = await promisify(execFile)("cat", [join(programs.path, "words-of-vmmessage")]);
    expect(words.stdout).toBe("vms --quiet --timeout 2 --manager /m.sock -h hv1 ");
  });

  test("come from libvirt where there is no manager, and from this host's only", async () => {
    const path = await withPrograms({ vmmessage: "exit 10", virsh: printing("db1", "db2", "") });
    expect(await complete("ovm_vmmessage -v ", path)).toMatchObject({ candidates: ["db1", "db2"] });
    expect(await complete("vmmessage -c qemu:///session -v ", path)).toMatchObject({ candidates: ["db1", "db2"] });
    expect(await complete("vmmessage -c qemu+ssh://hv2/system -v ", path)).toMatchObject({ candidates: [] });
  });

  test("are none where there is neither", async () => {
    expect(await complete("vmmessage -v ", await withPrograms({}))).toEqual({ candidates: [], options: [] });
  });
});
