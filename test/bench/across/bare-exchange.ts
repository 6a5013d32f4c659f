/** How the bare programs reach each other. */

/** To everyone, and to one. */
export const BARE_EXCHANGE = "bench-bare";
export const EVERYONE = "everyone";
export const bareKey = (index: number): string => `bare.${index}`;

/** A property that says which answer is wanted: the long one, as a list of VMs is, or the short one. */
export const LONG = "long";
