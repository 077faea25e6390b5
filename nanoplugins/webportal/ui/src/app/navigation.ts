// Where one can go; the palette and the `g` shortcuts use the same list.
import type { SideNavigationProps } from "@cloudscape-design/components/side-navigation";

const SECTIONS = ["compute", "images", "storage", "network", "administration"] as const;
type Section = (typeof SECTIONS)[number];

export interface Place {
  key: string;
  href: string;
  letter?: string;
  section?: Section;
}

export const PLACES: Place[] = [
  { key: "overview", href: "/", letter: "o" },
  { key: "instances", href: "/instances", letter: "i", section: "compute" },
  { key: "templates", href: "/templates", letter: "e", section: "compute" },
  { key: "computePools", href: "/compute-pools", letter: "p", section: "compute" },
  { key: "nodes", href: "/nodes", letter: "n", section: "compute" },
  { key: "diskImages", href: "/disk-images", letter: "d", section: "images" },
  { key: "mediaImages", href: "/media-images", letter: "m", section: "images" },
  { key: "volumes", href: "/volumes", letter: "v", section: "storage" },
  { key: "storagePools", href: "/storage-pools", letter: "s", section: "storage" },
  { key: "networks", href: "/networks", letter: "w", section: "network" },
  { key: "addressPools", href: "/address-pools", letter: "a", section: "network" },
  { key: "securityPolicies", href: "/security-policies", letter: "y", section: "network" },
  { key: "operations", href: "/operations", letter: "r", section: "administration" },
  { key: "tokens", href: "/tokens", letter: "t", section: "administration" },
  { key: "plugins", href: "/plugins", letter: "l", section: "administration" },
];

export function navigationItems(t: (key: string) => string): SideNavigationProps.Item[] {
  const link = (place: Place): SideNavigationProps.Link => ({ type: "link", text: t(place.key), href: place.href });
  return [
    ...PLACES.filter((place) => !place.section).map(link),
    ...SECTIONS.map(
      (section): SideNavigationProps.Section => ({
        type: "section",
        text: t(section),
        items: PLACES.filter((place) => place.section === section).map(link),
      }),
    ),
  ];
}
