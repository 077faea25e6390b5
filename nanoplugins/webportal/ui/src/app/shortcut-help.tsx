import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Toggle from "@cloudscape-design/components/toggle";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { system } from "../api/queries";
import { PLACES } from "./navigation";
import { setPreferences, usePreferences } from "./preferences";

export function ShortcutHelp({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["shell", "common"]);
  const { hasShortcuts } = usePreferences();
  const overview = useQuery(system());
  const row = (keys: string[], label: string) => ({
    label,
    value: keys.map((key, index) => (
      <span key={key}>
        {index > 0 && " "}
        <kbd>{key}</kbd>
      </span>
    )),
  });
  const items = [
    row(["Ctrl", "K"], t("search")),
    row(["/"], t("shortcuts.filter")),
    row(["c"], t("shortcuts.create")),
    row(["?"], t("shortcuts.help")),
    ...PLACES.filter((place) => place.letter).map((place) => row(["g", place.letter as string], t(place.key))),
  ];
  return (
    <Modal visible header={t("keyboard")} onDismiss={onClose} closeAriaLabel={t("common:close")}>
      <SpaceBetween size="l">
        <Toggle checked={hasShortcuts} onChange={({ detail }) => setPreferences({ hasShortcuts: detail.checked })}>
          {t("useShortcuts")}
        </Toggle>
        <KeyValuePairs columns={3} items={items} />
        <small>{t("version", { version: overview.data?.version ?? "" })}</small>
      </SpaceBetween>
    </Modal>
  );
}
