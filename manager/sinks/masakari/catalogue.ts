/** Where Masakari is, as Keystone's catalogue has it. */
import * as z from "zod/mini";
import { CommandError } from "../../../shared/cli/failure.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { MasakariEndpoint } from "../endpoint.ts";

/** OpenStack's name for what Masakari does (service-types.openstack.org). */
const SERVICE_TYPE = "instance-ha";

/** Of what the catalogue has otherwise, so many are named. */
const MAX_NAMED = 30;
const MAX_NAME_LENGTH = 100;

const endpoint = z.object({ interface: z.string(), region: z.nullish(z.string()), url: z.string() });
type CatalogueEndpoint = z.infer<typeof endpoint>;

export const catalogue = z.array(z.object({ type: z.string(), endpoints: z.array(endpoint) }));
export type Catalogue = z.infer<typeof catalogue>;

type Wanted = Pick<MasakariEndpoint, "region" | "interface">;

/** Its URL as it stands there, with a project's id if it has one, without a slash at the end. Throws CommandError. */
export function masakariUrl(services: Catalogue, wanted: Wanted): string {
  const ours = services.filter(({ type }) => type === SERVICE_TYPE);
  if (ours.length === 0) {
    throw missing(`has no service '${SERVICE_TYPE}' (it has: ${listed(services.map(({ type }) => type))})`);
  }
  const endpoints = ours.flatMap((service) => service.endpoints);
  const urls = new Set(endpoints.filter((candidate) => isWanted(candidate, wanted)).map(({ url }) => url));
  const [url, ...others] = urls;
  if (url === undefined) {
    throw missing(`has ${SERVICE_TYPE} not as ${inWords(wanted)} (it has: ${listed(endpoints.map(inWords))})`);
  }
  if (others.length > 0) throw missing(`has ${SERVICE_TYPE} in several places (${listed([...urls])})`);
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) throw missing(`says that ${SERVICE_TYPE} is at ${shown(url)}`);
  return withoutSlash(url);
}

export function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

function isWanted(candidate: CatalogueEndpoint, wanted: Wanted): boolean {
  return (
    candidate.interface === wanted.interface && (wanted.region === undefined || candidate.region === wanted.region)
  );
}

function inWords(endpoint: { interface: string; region?: string | null | undefined }): string {
  const { region } = endpoint;
  return `${endpoint.interface}${region === undefined || region === null ? "" : ` in ${region}`}`;
}

function listed(names: readonly string[]): string {
  return [...new Set(names)].slice(0, MAX_NAMED).map(shown).join(", ") || "nothing";
}

function shown(name: string): string {
  return printable(name.slice(0, MAX_NAME_LENGTH));
}

function missing(what: string): CommandError {
  return new CommandError(
    "failed",
    `Keystone's catalogue ${what}; the sink's region, interface or url says where it is`,
  );
}
