// Where one can go; the palette and the `g` shortcuts use the same list.
import type { SideNavigationProps } from "@cloudscape-design/components/side-navigation";

export interface Place {
  key: string;
  href: string;
  letter?: string;
  section?: "compute" | "images" | "network" | "administration";
}

export const PLACES: Place[] = [
  { key: "overview", href: "/", letter: "o" },
  { key: "instances", href: "/instances", letter: "i", section: "compute" },
  { key: "computePools", href: "/compute-pools", letter: "p", section: "compute" },
  { key: "nodes", href: "/nodes", letter: "n", section: "compute" },
  { key: "diskImages", href: "/disk-images", letter: "d", section: "images" },
  { key: "networks", href: "/networks", letter: "w", section: "network" },
  { key: "operations", href: "/operations", letter: "r", section: "administration" },
  { key: "tokens", href: "/tokens", letter: "t", section: "administration" },
  { key: "plugins", href: "/plugins", letter: "l", section: "administration" },
];

export function navigationItems(t: (key: string) => string): SideNavigationProps.Item[] {
  const link = (place: Place): SideNavigationProps.Link => ({ type: "link", text: t(place.key), href: place.href });
  const sections = ["compute", "images", "network", "administration"] as const;
  return [
    ...PLACES.filter((place) => !place.section).map(link),
    ...sections.map(
      (section): SideNavigationProps.Section => ({
        type: "section",
        text: t(section),
        items: PLACES.filter((place) => place.section === section).map(link),
      }),
    ),
  ];
}
