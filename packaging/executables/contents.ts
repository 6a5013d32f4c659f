// What is in each executable, and under which names it runs what.

export type ExecutableName = "agent" | "vmmessage";
export const executableNames: readonly ExecutableName[] = ["agent", "vmmessage"];

export interface Contents {
  /** The bundle that runs under a called name, and otherwise the one of "". */
  programs: Readonly<Record<string, string>>;
  /** Further bundles, which those load. */
  bundles: readonly string[];
  /** Files that a bundle, or an addon, has to find in a directory. */
  sideFiles: Readonly<Record<string, readonly string[]>>;
  /** Arguments of Node's own. */
  execArgv: readonly string[];
  /** Command lines that make the code cache of a bundle: it holds what has run by then. They must come to the same end on every machine. */
  warmUps: Readonly<Record<string, readonly string[]>>;
}

/** A place that is on no machine. */
const nowhere = "/nonexistent/vmmessage";

const python = ["__init__.py", "cli.py", "common.py"].map((name) => `python/templateconfig/${name}`);

export const contents: Readonly<Record<ExecutableName, Contents>> = {
  agent: {
    programs: { "": "agent.js" },
    bundles: ["agent-bootstrap.js", "yaml.js", "serialport.js"],
    sideFiles: { "agent-bootstrap.js": python, "serialport.node": ["serialport.node"] },
    execArgv: [],
    warmUps: { "agent.js": ["--run-dir", nowhere, "-g", "key"] },
  },
  vmmessage: {
    programs: { "": "vmmessage.js", vmmessaged: "vmmessaged.js" },
    bundles: ["yaml.js"],
    sideFiles: { "vmmessaged.js": ["vmmessaged-store.js"] },
    // For the manager (docs/benchmarks.md); a command is over before it has as many young objects.
    execArgv: ["--max-semi-space-size=4"],
    warmUps: {
      "vmmessage.js": ["-v", "vm", "--socket", `${nowhere}/socket`, "-q", "key"],
      "vmmessaged.js": ["--version"],
    },
  },
};
