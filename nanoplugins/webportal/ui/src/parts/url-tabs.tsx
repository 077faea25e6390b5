// Tabs whose choice is in the URL.
import Tabs from "@cloudscape-design/components/tabs";
import type { ReactNode } from "react";
import { useSearchParams } from "react-router";
import { Contain } from "./problem";

export interface Tab {
  id: string;
  label: string;
  content: ReactNode;
}

export function UrlTabs({ tabs }: { tabs: Tab[] }) {
  const [search, setSearch] = useSearchParams();
  const wanted = search.get("tab") ?? "";
  const active = tabs.some((tab) => tab.id === wanted) ? wanted : tabs[0]?.id;
  return (
    <Tabs
      activeTabId={active}
      onChange={({ detail }) =>
        setSearch(detail.activeTabId === tabs[0]?.id ? {} : { tab: detail.activeTabId }, { replace: true })
      }
      tabs={tabs.map((tab) => ({
        ...tab,
        content: tab.id === active ? <Contain key={tab.id}>{tab.content}</Contain> : null,
      }))}
    />
  );
}
