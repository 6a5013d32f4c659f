/** The machine's own name in /etc/hosts (hosts(5)): on a line of 127.0.1.1, as Debian's installer writes it. */

const OWN_ADDRESS = "127.0.1.1";

/** Address, names, and a comment. */
const LINE = /^\s*([^\s#]+)\s+([^#]*?)\s*(#.*)?$/;

interface HostLine {
  address: string;
  names: readonly string[];
  comment: string | undefined;
}

/**
 * The text of /etc/hosts in which `name` resolves. The line of 127.0.1.1 loses the old name and keeps what somebody added
 * to it; where there is none, one is added unless another line has the name.
 */
export function hostsWith(text: string, name: string, oldName: string | undefined): string {
  const lines = text.split("\n");
  const parsed = lines.map(parseLine);
  const at = parsed.findIndex((line) => line?.address === OWN_ADDRESS);
  const own = parsed[at];
  if (own !== undefined) {
    const names = namesInStep(own.names, name, oldName);
    if (names.join(" ") === own.names.join(" ")) return text;
    return lines.with(at, lineText({ ...own, names })).join("\n");
  }
  if (parsed.some((line) => line?.names.some((known) => isSame(known, name)))) return text;
  const whole = text === "" || text.endsWith("\n") ? text : `${text}\n`;
  const added = lineText({ address: OWN_ADDRESS, names: namesInStep([], name, oldName), comment: undefined });
  return `${whole}${added}\n`;
}

function parseLine(text: string): HostLine | undefined {
  const [, address, names, comment] = LINE.exec(text) ?? [];
  if (address === undefined || names === undefined) return undefined;
  return { address, names: names.split(/\s+/).filter((name) => name !== ""), comment };
}

function lineText({ address, names, comment }: HostLine): string {
  return [address, names.join(" "), ...(comment === undefined ? [] : [comment])].join("\t");
}

/** The full name comes first, the short one after it (hostname(1), "The FQDN"). A short name alone keeps the domain that is there. */
function namesInStep(names: readonly string[], name: string, oldName: string | undefined): string[] {
  const short = firstLabel(name);
  const ours = [short, ...(oldName === undefined ? [] : [firstLabel(oldName)])];
  const isOurs = (candidate: string): boolean => ours.some((label) => isSame(firstLabel(candidate), label));
  const others = names.filter((candidate) => !isOurs(candidate));
  const renamed = names.filter(isOurs).map((candidate) => short + candidate.slice(firstLabel(candidate).length));
  const own = name === short ? [...renamed, name] : [name, short];
  return [...new Set([...own, ...others])];
}

function firstLabel(name: string): string {
  return name.split(".", 1)[0] ?? name;
}

function isSame(name: string, other: string): boolean {
  return name.toLowerCase() === other.toLowerCase();
}
