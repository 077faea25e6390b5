// The console tab: screen or serial, the choice in the URL; the libraries load only here.
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";
import type { Instance } from "../api/types";

const Console = lazy(() => import("./console").then((module) => ({ default: module.Console })));

export function ConsoleTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation("console");
  const [search, setSearch] = useSearchParams();
  const kind = search.get("kind") === "serial" ? "serial" : "screen";
  return (
    <SpaceBetween size="s">
      <SegmentedControl
        label={t("kind")}
        selectedId={kind}
        onChange={({ detail }) => setSearch({ tab: "console", kind: detail.selectedId }, { replace: true })}
        options={[
          { id: "screen", text: t("screen") },
          { id: "serial", text: t("serial") },
        ]}
      />
      <Suspense fallback={<Spinner />}>
        <Console instance={instance} kind={kind} key={kind} />
      </Suspense>
    </SpaceBetween>
  );
}
