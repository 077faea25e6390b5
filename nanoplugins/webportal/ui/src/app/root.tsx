// Providers and routes.
import { I18nProvider, type I18nProviderProps } from "@cloudscape-design/components/i18n";
import enMessages from "@cloudscape-design/components/i18n/messages/all.en";
import zhMessages from "@cloudscape-design/components/i18n/messages/all.zh-CN";
import Spinner from "@cloudscape-design/components/spinner";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { createBrowserRouter, RouterProvider } from "react-router";
import { Contain } from "../parts/problem";
import { AddressPoolPage, AddressPoolsPage } from "../pages/address-pools";
import { ComputePoolPage } from "../pages/compute-pool";
import { ComputePoolsPage } from "../pages/compute-pools";
import { ImagePage } from "../pages/image";
import { ImagesPage } from "../pages/images";
import { InstanceCreatePage, TemplateEditPage } from "../pages/instance-create";
import { InstancePage } from "../pages/instance";
import { InstancesPage } from "../pages/instances";
import { LoginPage } from "../pages/login";
import { NodePage } from "../pages/node";
import { NodesPage } from "../pages/nodes";
import { BrokenPage, NotFoundPage, OfflinePage } from "../pages/not-found";
import { OperationsPage } from "../pages/operations";
import { OverviewPage } from "../pages/overview";
import { NetworksPage } from "../pages/networks";
import { PluginsPage } from "../pages/plugins";
import { SecurityPoliciesPage } from "../pages/security-policies";
import { StoragePoolPage, StoragePoolsPage } from "../pages/storage-pools";
import { TemplatesPage } from "../pages/templates";
import { TokensPage } from "../pages/tokens";
import { VolumesPage } from "../pages/volumes";
import { FlashesProvider } from "./flashes";
import { LiveProvider } from "./live";
import { SessionProvider, useSession } from "./session";
import { Shell } from "./shell";
import { UploadsProvider } from "./uploads";

const ConsolePage = lazy(() => import("../pages/console"));

const router = createBrowserRouter([
  {
    path: "/instances/:id/console/:kind",
    errorElement: <BrokenPage />,
    element: (
      <Suspense fallback={<Spinner />}>
        <ConsolePage />
      </Suspense>
    ),
  },
  {
    element: <Shell />,
    errorElement: <BrokenPage />,
    children: [
      { index: true, element: <OverviewPage /> },
      { path: "instances", element: <InstancesPage /> },
      { path: "instances/create", element: <InstanceCreatePage /> },
      { path: "instances/:id", element: <InstancePage /> },
      { path: "compute-pools", element: <ComputePoolsPage /> },
      { path: "compute-pools/:id", element: <ComputePoolPage /> },
      { path: "nodes", element: <NodesPage /> },
      { path: "nodes/:id", element: <NodePage /> },
      { path: "templates", element: <TemplatesPage /> },
      { path: "templates/create", element: <TemplateEditPage /> },
      { path: "templates/:id", element: <TemplateEditPage /> },
      { path: "disk-images", element: <ImagesPage topic="disk-images" key="disk" /> },
      { path: "disk-images/:id", element: <ImagePage topic="disk-images" /> },
      { path: "media-images", element: <ImagesPage topic="media-images" key="media" /> },
      { path: "media-images/:id", element: <ImagePage topic="media-images" /> },
      { path: "volumes", element: <VolumesPage /> },
      { path: "storage-pools", element: <StoragePoolsPage /> },
      { path: "storage-pools/:id", element: <StoragePoolPage /> },
      { path: "networks", element: <NetworksPage /> },
      { path: "address-pools", element: <AddressPoolsPage /> },
      { path: "address-pools/:id", element: <AddressPoolPage /> },
      { path: "security-policies", element: <SecurityPoliciesPage /> },
      { path: "operations", element: <OperationsPage /> },
      { path: "plugins", element: <PluginsPage /> },
      { path: "tokens", element: <TokensPage /> },
      { path: "*", element: <NotFoundPage /> },
    ],
  },
]);

export function Root() {
  const { i18n } = useTranslation();
  const messages = [enMessages, zhMessages] as readonly I18nProviderProps.Messages[];
  return (
    <I18nProvider locale={i18n.language} messages={messages}>
      <Contain>
        <SessionProvider>
          <Gate />
        </SessionProvider>
      </Contain>
    </I18nProvider>
  );
}

function Gate() {
  const { status, error } = useSession();
  if (status === "loading") return <Spinner size="large" />;
  if (status === "anonymous") return error ? <OfflinePage error={error} /> : <LoginPage />;
  return (
    <LiveProvider>
      <FlashesProvider>
        <UploadsProvider>
          <RouterProvider router={router} />
        </UploadsProvider>
      </FlashesProvider>
    </LiveProvider>
  );
}
