import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { build, type Metafile } from "esbuild";
import { describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");

interface Import {
  from: string;
  to: string;
}

/** Every import of a file of the project by another, paths relative to the project. */
function importsBelow(folder: string): Import[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => importsOf(join(folder, name)));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), "utf8");
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(([, specifier = ""]) => specifier);
  return specifiers.map((specifier) => {
    const to = specifier.startsWith(".") ? normalize(join(dirname(file), specifier)) : specifier;
    return { from: file, to };
  });
}

/** The modules that are run when a program starts, before anything imported lazily. */
async function loadedAtStart(program: string): Promise<string[]> {
  const options = { bundle: true, write: false, metafile: true, platform: "node", format: "esm" } as const;
  const { metafile } = await build({
    ...options,
    entryPoints: [join(root, program)],
    packages: "external",
    absWorkingDir: root,
  });
  return [...staticImports(metafile, program)];
}

function staticImports({ inputs }: Metafile, file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const { path, kind } of inputs[file]?.imports ?? []) {
    if (kind === "import-statement") staticImports({ inputs, outputs: {} }, path, seen);
  }
  return seen;
}

describe("imports", () => {
  test("go from the programs to shared/, and never from one program to another", () => {
    const programs = ["agent", "host-cli", "manager"];
    for (const program of programs) {
      const others = programs.filter((other) => other !== program);
      const strays = importsBelow(program).filter(({ to }) => others.some((other) => to.startsWith(`${other}/`)));
      expect(strays).toEqual([]);
    }
    const outward = importsBelow("shared").filter(({ to }) => programs.some((program) => to.startsWith(`${program}/`)));
    expect(outward).toEqual([]);
  });

  test("of shared/protocol stay inside it, but for zod and what computes on bytes", () => {
    const allowed = ["zod/mini", "zod/v4/core", "zod/v4/locales/en.js", "node:zlib", "node:buffer"];
    const outside = importsBelow("shared/protocol").filter(({ to }) => {
      return !to.startsWith("shared/protocol/") && !allowed.includes(to);
    });
    expect(outside).toEqual([]);
  });

  test("of handlers reach the cache, and no channel", () => {
    const channels = importsBelow("agent/handlers").filter(({ to }) =>
      /channel|peer|session/.test(relative("agent", to)),
    );
    expect(channels.filter(({ from }) => !from.endsWith("index.ts"))).toEqual([]);
  });

  test("of `agent -g` load neither serialport, nor the daemon, nor what configures a machine", async () => {
    const loaded = await loadedAtStart("agent/main.ts");
    expect(loaded).toContain("agent/commands/get.ts");
    expect(loaded.filter((file) => /serialport|pino|agent\/daemon|agent\/handlers|bootstrap/.test(file))).toEqual([]);
  });

  test("of `agent run` load nothing of what configures a machine", async () => {
    const loaded = await loadedAtStart("agent/commands/run.ts");
    expect(loaded).toContain("agent/daemon/daemon.ts");
    expect(loaded.filter((file) => file.includes("bootstrap"))).toEqual([]);
  });

  test("of the manager's doors reach the service, and no link, store or delivery", () => {
    const parts = /^manager\/(links|delivery|store|inventory|vms|service\/(?!(?:event-)?service\.ts))/;
    const strays = ["manager/api", "manager/console"].flatMap(importsBelow).filter(({ to }) => parts.test(to));
    expect(strays).toEqual([]);
  });

  test("of `vmmessage` straight to a channel load neither HTTP nor TLS", async () => {
    const loaded = await loadedAtStart("host-cli/main.ts");
    expect(loaded.filter((file) => /node:https?$|node:tls$|eventsource|cli-progress|shared\/api/.test(file))).toEqual(
      [],
    );
  });

  test("only the main files touch arguments, the environment, signals and exit codes", () => {
    const touching = ["agent", "host-cli", "manager", "shared"].flatMap((folder) => {
      return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".ts"))
        .map((name) => join(folder, name))
        .filter((file) => /process\.(argv|env|exitCode|exit\(|on\()/.test(readFileSync(join(root, file), "utf8")));
    });
    expect(touching.sort()).toEqual(["agent/main.ts", "host-cli/main.ts", "manager/main.ts"]);
  });
});
